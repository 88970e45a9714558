"""The one root of every error that CoSpine raises on purpose."""


class CoSpineError(Exception):
    """Something the user can understand and mend.

    Parameters
    ----------
    what : str
        What is wrong, in one sentence.
    where : str
        The file, column, flag or value it was found in.
    remedy : str
        What to do about it.
    """

    def __init__(self, what: str, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(what, where, remedy)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.remedy[0].upper()}{self.remedy[1:]}" if self.remedy else text
