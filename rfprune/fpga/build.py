"""The scripts with which an engineer builds the exported project with the vendor's tools.

hls4ml 1.3 writes ``build_prj.tcl`` for both tools: that of Vitis HLS reads its options from
``build_opt.tcl`` and runs by ``vitis-run``, that of Vivado HLS takes them as an argument
(``backends/vitis/vitis_backend.py``, ``backends/vivado/vivado_backend.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rfprune.fpga.hls import PROJECT_NAME

__all__ = ["write_scripts"]


@dataclass(frozen=True)
class _Tool:
    """How a vendor's tool is called; `option` is one option in its Windows script."""

    name: str
    program: str
    script: str
    option: str


_TOOLS = {
    "Vitis": _Tool("Vitis HLS", "vitis-run", "vitis", "%%N !VALUE!"),
    "Vivado": _Tool("Vivado HLS", "vivado_hls", "vivado", "%%N=!VALUE!"),
}


def write_scripts(folder: Path, backend: str) -> None:
    """Write ``build.sh``, ``build.bat`` and ``hls/check_csim.tcl``.

    Args:
        folder: of the export.
        backend: Vitis or Vivado.
    """
    tool = _TOOLS[backend]
    # In a file of bare line feeds cmd.exe may not find the labels that it jumps to.
    for kind, ending in (("sh", "\n"), ("bat", "\r\n")):
        text = _script(f"build.{kind}").replace("__RUN__\n", _script(f"{tool.script}.{kind}"))
        words = {"TOOL": tool.name, "PROGRAM": tool.program, "OPTION": tool.option}
        for word, value in {**words, "PROJECT": PROJECT_NAME}.items():
            text = text.replace(f"__{word}__", value)
        path = folder / f"build.{kind}"
        path.write_text(text, encoding="ascii", newline=ending)
    (folder / "build.sh").chmod(0o755)
    (folder / "hls" / "check_csim.tcl").write_text(_script("check_csim.tcl"))


def _script(name: str) -> str:
    return files("rfprune.fpga").joinpath("scripts", name).read_text(encoding="ascii")
