"""What users bring: files of arrays and of tables, folders, functions, torch Datasets."""
