"""Bundled micrographs: JPEG 2000 files, manifest.csv and LICENCES.md, read by `microloftr.data.micrographs`."""
