> build_opt.tcl echo array set opt {!OPTIONS! fifo_opt 0}
call :run_tcl build_prj.tcl
exit /b

:run_tcl
call vitis-run --mode hls --tcl %1
exit /b
