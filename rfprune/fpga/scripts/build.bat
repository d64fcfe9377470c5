@echo off
rem Builds the design in hls\ with __TOOL__, one step after the other:
rem
rem   build.bat                    csim csynth export synthesis
rem   build.bat csim csynth cosim  only these, in this order
rem
rem   csim       compiles the C++ and compares its outputs with those of the test vectors
rem   csynth     C++ to RTL: latency, initiation interval, first estimate of resources
rem   cosim      simulates the RTL on the test vectors and compares it with csim (slow)
rem   export     packs the RTL as an IP core
rem   synthesis  logic synthesis with Vivado: the resources that count
setlocal enabledelayedexpansion
cd /d "%~dp0hls" || exit /b 1
set "PROJECT=__PROJECT___prj"
set "STEPS=%*"
if not defined STEPS set "STEPS=csim csynth export synthesis"

for %%S in (%STEPS%) do (
  echo  csim csynth cosim export synthesis | find " %%S " >nul || (
    echo build.bat: unknown step '%%S'. Allowed: csim csynth cosim export synthesis 1>&2
    exit /b 1
  )
)
call :on_path __PROGRAM__ "__TOOL__" || exit /b 1
for %%S in (%STEPS%) do (
  echo == %%S
  call :%%S || exit /b 1
)
echo == done. Reports: hls\%PROJECT%\solution1\syn\report, hls\vivado_synth.rpt
exit /b 0

:csim
call :build csim || exit /b 1
call :run_tcl check_csim.tcl
exit /b

:csynth
call :build synth
exit /b

:cosim
call :needs_rtl cosim || exit /b 1
call :build cosim validation
exit /b

:export
call :needs_rtl export || exit /b 1
call :build export
exit /b

:synthesis
call :needs_rtl synthesis || exit /b 1
call :on_path vivado Vivado || exit /b 1
call :build vsynth
exit /b

:on_path
where %1 >nul 2>nul && exit /b 0
echo build.bat: %1 is not on PATH. Run settings64.bat of %~2 first. 1>&2
exit /b 1

:needs_rtl
if exist "%PROJECT%\solution1\syn\verilog" exit /b 0
echo build.bat: %1 needs the RTL. Run first: build.bat csynth 1>&2
exit /b 1

rem Runs hls4ml's build_prj.tcl with the named stages on and all others off. It finds "synth=" also
rem in "vsynth=", so their order counts.
:build
set "NAMES=%*"
if not exist "%PROJECT%" set "NAMES=reset %NAMES%"
set "OPTIONS="
for %%N in (reset csim synth cosim validation export vsynth) do (
  set "VALUE=0"
  for %%M in (%NAMES%) do if "%%M"=="%%N" set "VALUE=1"
  set "OPTIONS=!OPTIONS! __OPTION__"
)
__RUN__
