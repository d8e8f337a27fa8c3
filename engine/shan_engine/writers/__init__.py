"""Output files: one module for each format.

- `hits_parquet`: ranked pairs as a Parquet table.
- `matrix_npy`: a full score matrix as `.npy`, written in place.
- `json_answer`: search results as JSON has them.
- `cards`: search results as cards of HTML, which the report and the page share.
- `html_report`: search results as one HTML page, made from the template `report.html`.

Imports `base`, `photos` (for thumbnails) and `search` (for the types of results).
"""
