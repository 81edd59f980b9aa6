"""Steps that the training scripts of the bundled encoders share."""
