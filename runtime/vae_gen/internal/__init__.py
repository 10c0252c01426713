"""Parts that the four packages of this project share. Apps should not import them: they may change at any time."""
