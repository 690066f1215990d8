"""The exceptions of the package: each message is one sentence naming what is wrong and what would be right."""


class MicroLoFTRError(Exception):
    """Base of all errors that a user can mend; commands print it as one line and exit with status 2."""


class ImageError(MicroLoFTRError):
    """An image cannot be read, or is not an image that can be matched."""


class ParameterError(MicroLoFTRError, ValueError):
    """A parameter has an unknown name, a wrong type or a value outside its range."""


class ConfigError(MicroLoFTRError, ValueError):
    """A configuration key or value is wrong."""


class WeightsError(MicroLoFTRError):
    """Weights are missing, damaged, or belong to another model."""


class TransformError(MicroLoFTRError):
    """A transform cannot be read, or cannot be used as asked."""
