"""Conversion to PDF by LibreOffice and DjVuLibre, in confined processes."""
