"""Method widths: LUTs at which a score is kept, on rows that nothing was chosen on."""
