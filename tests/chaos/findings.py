"""What an audit says: each finding is a sentence that names the thing, and any of them fails the run."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Findings:
    """Empty lists are what is wanted."""

    lost: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    """What the plugin was told and should not have been."""
    untrue: list[str] = field(default_factory=list)
    """What a probe said that was not so."""
    late: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    """What should not have been answered or logged, or should not have ended, at all."""
    counted: Counter[str] = field(default_factory=Counter)
    """How much was looked at."""

    def clean(self) -> bool:
        return not any(self.lists().values())

    def lists(self) -> dict[str, list[str]]:
        """Every kind of finding by its name."""
        return {
            "lost": self.lost,
            "double": self.double,
            "out of order": self.disorder,
            "leaked": self.leaked,
            "untrue": self.untrue,
            "late": self.late,
            "odd": self.odd,
        }
