call vivado_hls -f build_prj.tcl "!OPTIONS!"
exit /b

:run_tcl
call vivado_hls -f %1
exit /b
