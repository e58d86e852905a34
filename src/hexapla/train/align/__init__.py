"""AlignX (arXiv 2509.24338): representations of languages drawn together while a model is trained."""
