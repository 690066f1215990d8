"""What keeps notebooks, numbers and notes honest: thin glue over jupytext, papermill and nbformat.

The percent script `notebooks/NN_name.py` is the source, `NN_name.ipynb` its executed twin. `python -m literate` lists
the commands. Nothing here knows about matching; from microloftr it takes the exceptions and the atomic writer alone.
"""
