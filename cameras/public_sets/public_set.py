"""What a public set of RAW photographs is, and the choice of one camera's photographs in it."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cameras.downloads import Remote, is_file_name
from cameras.importing import random_order


@dataclass(frozen=True)
class Photograph:
    """A RAW file of a set. camera: make and model, as the set's list writes them."""

    camera: str
    file: Remote

    def __post_init__(self) -> None:
        """Raises ValueError for a camera that cannot be the name of a folder."""
        if not is_file_name(self.camera):
            raise ValueError(f"camera {self.camera!r} cannot be the name of a folder")


@dataclass(frozen=True)
class PublicSet:
    """A public set of RAW photographs.

    terms: in one sentence. home: address of the set's page. lists: files that list the photographs; none where a person
    must ask for the list. where_lists_are: said to a person who must bring one. read: the photographs in a list; its
    ValueError is one line without the file's name. bytes_each: of a typical file.
    """

    title: str
    home: str
    terms: str
    lists: tuple[Remote, ...]
    where_lists_are: str
    read: Callable[[Path], list[Photograph]]
    bytes_each: int

    def photographs(self, lists: Iterable[Path]) -> list[Photograph]:
        """All photographs in the lists. Raises ValueError for a file that is no list of the set."""
        found: dict[str, Photograph] = {}
        for path in lists:
            try:
                photographs = self.read(path)
                if not photographs:
                    raise ValueError("it names no photographs")
            except (ValueError, OSError) as error:
                reason = (error.strerror or error) if isinstance(error, OSError) else error
                raise ValueError(f"{path} is no list of {self.title}: {reason}; {self.where_lists_are}") from None
            found |= {photograph.file.name: photograph for photograph in photographs}
        return list(found.values())


def of_camera(photographs: Iterable[Photograph], asked: str, seed: int) -> list[Photograph]:
    """The photographs of one camera model, in an order that depends only on the seed and the names of the files.

    Args:
        asked: make and model, or the model alone, in any case: "Nikon D90", "d90".

    Raises:
        ValueError: no camera, or more than one, is meant; the line names those of the set.
    """
    counts = Counter(photograph.camera for photograph in photographs)
    wanted = " ".join(asked.lower().split())
    meant = [camera for camera in counts if wanted in (camera.lower(), camera.lower().partition(" ")[2])]
    if len(meant) != 1:
        listing = ", ".join(f"{camera} ({count})" for camera, count in counts.most_common())
        raise ValueError(f"camera {asked!r} does not name one camera of the set: {listing}")
    by_name = {photograph.file.name: photograph for photograph in photographs if photograph.camera == meant[0]}
    return [by_name[path.name] for path in random_order([Path(name) for name in by_name], seed)]
