"""Opening a document of any format: passwords, conversion to PDF, pages and members."""
