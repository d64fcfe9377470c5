"""What everything else builds on: names, tables, arrays, files. Knows no network and no FPGA."""
