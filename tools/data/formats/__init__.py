"""File formats: NIfTI, NRRD, MetaImage, DICOM series, npz archives, and their length units."""
