"""What can be wrong with stored proposals."""


class DamagedStoreError(RuntimeError):
    """A store file that is cut short or changed; the message names the file and the images lost."""


class MissingProposalsError(KeyError):
    """An image that proposals were asked of and that has none on record."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print it in quotes with escapes
