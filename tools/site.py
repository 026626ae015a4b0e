"""Hooks of mkdocs: pages that lie outside docs/, and links that lead to files of the repository."""

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# By the page's name in the site: where it lies.
OUTSIDE = {
    "index.md": "README.md",
    "SECURITY.md": "SECURITY.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "LOG.md": "results/LOG.md",
}
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s]+?)(#[^)\s]*)?(\))")
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
FILES = "files/"  # where in the site copies of the repository's files lie


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Adds the pages outside docs/, and every file that a page links to."""
    from mkdocs.structure.files import File

    for name, source in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    for page in list(files.documentation_pages()):
        for link in linked_files(page.src_uri, page.content_string):
            if files.get_file_from_path(FILES + link) is None:
                files.append(File.generated(config, FILES + link, abs_src_path=str(ROOT / link)))
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Turns links between files of the repository into links between pages of the site."""
    source = page.file.src_uri
    return LINK.sub(lambda link: f"{link[1]}{to_site(source, link[2])}{link[3] or ''}{link[4]}", markdown)


def linked_files(page: str, markdown: str) -> set[str]:
    """What a page links to that is no page, by its place in the repository; folders are left out."""
    targets = {in_repository(page, link[2]) for link in LINK.finditer(CODE.sub("", markdown))}
    return {each for each in targets if site_page(each) is None and (ROOT / each).is_file()}


def in_repository(page: str, link: str) -> str:
    """Where in the repository a page's link leads."""
    folder = posixpath.dirname(OUTSIDE.get(page, f"docs/{page}"))
    return posixpath.normpath(posixpath.join(folder, link))


def site_page(path: str) -> str | None:
    """What a file of the repository is called in the site; None where it is no page."""
    by_source = {source: name for name, source in OUTSIDE.items()}
    if path in by_source:
        return by_source[path]
    return path.removeprefix("docs/") if path.startswith("docs/") and (ROOT / path).is_file() else None


def to_site(page: str, link: str) -> str:
    """A link as it is in the site. A folder of the repository has no page: its list of files is the tree's."""
    path = in_repository(page, link)
    found = site_page(path)
    if found is None:
        found = FILES + path if (ROOT / path).is_file() else "index.md"
    return posixpath.relpath(found, posixpath.dirname(page) or ".")
