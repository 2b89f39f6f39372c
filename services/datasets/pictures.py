"""What a file is: a picture by its suffix, or, where that says nothing, by its first bytes."""

from pathlib import PurePosixPath

HEAD = 64  # bytes that tell

# Formats that the trainer decodes, by the suffixes that they go by.
SUFFIXES: dict[str, str] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"), "jpeg"),
    **dict.fromkeys((".png", ".apng"), "png"),
    **dict.fromkeys((".tif", ".tiff"), "tiff"),
    **dict.fromkeys((".bmp", ".dib"), "bmp"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "ppm"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "heic"),
    ".webp": "webp",
    ".gif": "gif",
    ".avif": "avif",
}
UNCOMPRESSED = frozenset({"bmp", "tiff", "ppm"})  # which may honestly deflate to a thousandth
# Camera raw begins as TIFF does; what a decoder makes of it is its thumbnail.
RAW = frozenset(
    {".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef", ".srw", ".3fr"}
    | {".erf", ".kdc", ".mrw", ".x3f"}
)
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"})
TABLES = frozenset({".csv", ".jsonl"})
TEXTS = frozenset({".txt", ".json", ".xml", ".md", ".yaml", ".yml", ".html"})
NO_PICTURES = RAW | ARCHIVES | TABLES | TEXTS  # whatever they begin with

# What systems and programs leave behind; no picture of the data set whatever lies in it.
JUNK = frozenset(
    {"__macosx", ".ds_store", ".appledouble", ".localized", "icon\r", ".spotlight-v100", ".fseventsd", ".trashes"}
    | {".temporaryitems", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}
    | {".trash", ".directory", ".thumbnails", "lost+found", "@eadir", "#recycle", ".picasaoriginals", ".picasa.ini"}
    | {".ipynb_checkpoints", "__pycache__", ".cache", ".git", ".svn", ".hg", ".idea", ".vscode"}
)

_BRANDS = {b"avif": "avif", b"avis": "avif"} | dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc"), "heic")


def suffix_of(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def format_of(head: bytes) -> str | None:
    """By the first bytes; None where they are of no picture that is decoded."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith(b"BM"):
        return "bmp"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in (b" ", b"\t", b"\n", b"\r", b"#"):
        return "ppm"
    return _of_iso_media(head) if head[4:8] == b"ftyp" else None


def _of_iso_media(head: bytes) -> str | None:
    """ISO/IEC 14496-12: the brand of the file, then those that it is compatible with. Films have others."""
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), "heic" if head[8:12] == b"mif1" else None)


def is_picture(path: str, head: bytes) -> bool:
    suffix = suffix_of(path)
    return suffix in SUFFIXES or (suffix not in NO_PICTURES and format_of(head) is not None)


def is_junk(path: str) -> bool:
    """By a folder's or its own name; `._` is macOS' fork of another file."""
    return any(part.lower() in JUNK or part.startswith("._") for part in path.split("/"))
