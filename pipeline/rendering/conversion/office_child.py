"""Converts a document to PDF with LibreOffice. Runs in a confined process, in an interpreter that has UNO's bindings.

UNO is used instead of `--convert-to` for three reasons: passwords never appear in an argument, the call itself disables
links and macros, and the notes and the visibility of each slide can be read.
"""

from __future__ import annotations

import html
import re
import subprocess
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uno
import unohelper
from com.sun.star.beans import PropertyValue
from com.sun.star.connection import NoConnectException
from com.sun.star.task import XInteractionHandler2
from com.sun.star.util import DateTime

from pipeline.core.confinement import forbid
from pipeline.rendering.conversion.confined import OUTPUT, ConversionError, Reply, Request, Workspace, died, serve

#: The program's name in messages.
NAME = "LibreOffice"
#: Exit status that asks for a restart (`EXITHELPER_NORMAL_RESTART`).
_RESTART = 81
_POLL_SECONDS = 0.02
#: Maximum time that a program takes to end after it has closed its pipe.
_DEATH_SECONDS = 1
_MAX_NOTE_CHARS = 100_000
_MAX_FONTS = 200
_MAX_FONT_CHARS = 100
#: Bytes that are searched for fonts: an ODF file declares them at the beginning of its parts.
_FONTS_WITHIN = 1 << 20
_FONT = re.compile(rb'<style:font-face\b[^>]*?\bsvg:font-family="([^"]*)"')
#: The font of every presentation's and drawing's own default style, whatever the document names.
_DEFAULT_FONTS = {"liberation sans"}
#: The CurrentUserAtom of an encrypted PowerPoint 97 presentation: header, size, token ([MS-PPT] 2.3.2).
_ENCRYPTED_PPT = re.compile(rb"\x00\x00\xf6\x0f....\x14\x00\x00\x00\xdf\xc4\xd1\xf3", re.DOTALL)

#: UNO's name of each kind of document, and the beginning of its filters' names.
_KINDS = {
    "com.sun.star.presentation.PresentationDocument": "impress",
    "com.sun.star.drawing.DrawingDocument": "draw",
    "com.sun.star.text.WebDocument": "writer_web",
    "com.sun.star.text.TextDocument": "writer",
    "com.sun.star.sheet.SpreadsheetDocument": "calc",
}
_ODF_FILTERS = {
    "impress": "impress8",
    "draw": "draw8",
    "writer_web": "writerweb8_writer",
    "writer": "writer8",
    "calc": "calc8",
}
#: Shapes that hold notes: the notes' own shape, and text boxes. Numbers, dates and footers have other shapes.
_NOTES_SHAPES = ("com.sun.star.presentation.NotesShape", "com.sun.star.drawing.TextShape")
#: `com.sun.star.document.MacroExecMode.NEVER_EXECUTE` and `com.sun.star.document.UpdateDocMode.NO_UPDATE`.
_NEVER_EXECUTE = 0
_NO_UPDATE = 0


_DATE_FIELD = "com.sun.star.text.textfield.DateTime"
#: The year that fields show in a document without a date of its own.
_UNDATED_YEAR = 2000


def main() -> None:
    """Serve one request."""
    serve(convert, sockets=True)


def convert(workspace: Workspace, request: Request) -> Reply:
    """Convert the document of a workspace.

    Raises:
        ConversionError: no PDF was made.
    """
    office = _start(workspace, request)
    try:
        return _convert(office, workspace, request)
    except ConversionError:
        raise
    except Exception:
        # A broken bridge is the first sign that LibreOffice has ended. Its exit status is more exact.
        with suppress(subprocess.TimeoutExpired):
            raise died(NAME, office.program.wait(_DEATH_SECONDS)) from None
        raise


class _Office:
    """A running LibreOffice that accepts calls."""

    def __init__(self, program: subprocess.Popen[bytes], context: Any) -> None:
        self.program = program
        self._context = context

    def service(self, name: str) -> Any:
        return self._context.ServiceManager.createInstanceWithContext(name, self._context)

    def setting(self, path: str, name: str) -> str:
        provider = self.service("com.sun.star.configuration.ConfigurationProvider")
        arguments = (PropertyValue("nodepath", 0, path, 0),)
        node = provider.createInstanceWithArguments("com.sun.star.configuration.ConfigurationAccess", arguments)
        return str(node.getPropertyValue(name))


class _Passwords(unohelper.Base, XInteractionHandler2):  # type: ignore[misc]
    """Answers LibreOffice's questions to its user: a request for a password with the next one, all others with no."""

    def __init__(self, passwords: Iterable[str]) -> None:
        self._passwords = iter(passwords)
        self.asked = False

    def handle(self, request: Any) -> None:
        self.handleInteractionRequest(request)

    def handleInteractionRequest(self, request: Any) -> bool:
        # `getRequest` would name the question, but fails in the bindings. The possible answers identify it too.
        for continuation in request.getContinuations():
            if hasattr(continuation, "setPassword"):
                self.asked = True
                password = next(self._passwords, None)
                if password is not None:
                    continuation.setPassword(password)
                    continuation.select()
                return password is not None
        return False


def _start(workspace: Workspace, request: Request) -> _Office:
    _prepare_profile(workspace.profile, Path(request["program"]), request["settings"])
    local = uno.getComponentContext()
    resolver = local.ServiceManager.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", local)
    program = _run(workspace, request)
    while True:
        try:
            context = resolver.resolve(f"uno:pipe,name={workspace.folder.name};urp;StarOffice.ComponentContext")
            # No byte of the document has been read yet: later nothing here reaches a socket of others.
            forbid(["socket", "connect"], every_thread=True)
            return _Office(program, context)
        except NoConnectException:
            status = program.poll()
        if status == _RESTART:
            program = _run(workspace, request)
        elif status is not None:
            raise died(NAME, status)
        time.sleep(_POLL_SECONDS)


def _run(workspace: Workspace, request: Request) -> subprocess.Popen[bytes]:
    options = "--headless --norestore --nologo --nodefault --nolockcheck --nofirststartwizard".split()
    command = (
        str(Path(request["program"], "soffice.bin")),
        *options,
        f"-env:UserInstallation={workspace.profile.as_uri()}",
        f"--accept=pipe,name={workspace.folder.name};urp;",
    )
    return workspace.start_server(command, SAL_USE_VCLPLUGIN="svp", SAL_DISABLE_OPENCL="1")


def _prepare_profile(profile: Path, home: Path, settings: str) -> None:
    """Write the settings and the build id. In a profile without its build id, LibreOffice would restart."""
    extensions = profile / "user" / "extensions"
    extensions.mkdir(parents=True)
    (profile / "user" / "registrymodifications.xcu").write_text(settings, encoding="utf-8")
    version = home / "versionrc"
    text = version.read_text(encoding="utf-8", errors="replace") if version.exists() else ""
    build = re.search(r"^buildid=(.*)$", text, re.MULTILINE)
    if build:
        (extensions / "buildid").write_text(build[1], encoding="utf-8")


def _convert(office: _Office, workspace: Workspace, request: Request) -> Reply:
    document, unlocked = _load(office, workspace, request["passwords"])
    kind = next((kind for service, kind in _KINDS.items() if document.supportsService(service)), None)
    if kind is None:
        raise ConversionError("unsupported", f"{NAME} opens it as a kind of document that has no pages")
    pages = document.getRendererCount(document, ())
    with suppress(AttributeError), _refusing():  # a field that cannot be set costs no page
        _freeze_dates(document, kind)
    printed = min(pages, request["sheet_pages"]) if kind == "calc" else pages
    if not printed:
        raise ConversionError("corrupt", f"{NAME} finds no page in it")
    _export(document, workspace.folder / OUTPUT, kind, printed if printed < pages else None)
    slides = list(_slides(document)) if kind == "impress" else []
    return {
        "converter": f"{office.setting('/org.openoffice.Setup/Product', 'ooName')} "
        + office.setting("/org.openoffice.Setup/Product", "ooSetupVersionAboutBox"),
        "pages": printed,
        "pages_left_out": pages - printed,
        "hidden": [number for number, slide in enumerate(slides, 1) if not slide.Visible],
        "notes": {number: text for number, slide in enumerate(slides, 1) if (text := _notes(slide))},
        "substituted_fonts": _missing_fonts(office, document, workspace.folder / "fonts.zip", kind),
        "title": document.DocumentProperties.Title or None,
        "unlocked": unlocked,
    }


def _load(office: _Office, workspace: Workspace, passwords: Sequence[str]) -> tuple[Any, bool]:
    """Open the document, and return whether it needed a password.

    LibreOffice refuses damaged and encrypted files in the same way, but requests a password only for encrypted ones.
    """
    handler = _Passwords(passwords)
    options = {
        "Hidden": True,
        "ReadOnly": True,
        "MacroExecutionMode": _NEVER_EXECUTE,
        "UpdateDocMode": _NO_UPDATE,
        "InteractionHandler": handler,
    }
    desktop = office.service("com.sun.star.frame.Desktop")
    document = None
    with _refusing():
        document = desktop.loadComponentFromURL(workspace.document.as_uri(), "_blank", 0, _properties(options))
    if document is not None:
        return document, handler.asked
    if handler.asked:
        raise ConversionError(
            "encrypted", "none of the known passwords opens it" if passwords else "the file needs a password"
        )
    if workspace.document.suffix == ".ppt" and _ENCRYPTED_PPT.search(workspace.document.read_bytes()):
        raise ConversionError("encrypted", f"it is encrypted in a way that {NAME} cannot read")
    raise ConversionError("corrupt", f"{NAME} cannot open it")


def _export(document: Any, path: Path, kind: str, last_page: int | None) -> None:
    options: dict[str, Any] = {
        "ExportHiddenSlides": True,  # so that page i is slide i
        "ExportNotes": False,
        "ExportNotesPages": False,
        "ExportFormFields": False,  # their content is drawn
        # As bookmarks, names of slides are useless: they are visible on the slides, or generated.
        "ExportBookmarks": kind not in ("impress", "draw"),
        "EmbedStandardFonts": True,
        "UseTaggedPDF": False,
        **({"PageRange": f"1-{last_page}"} if last_page else {}),
    }
    data = uno.Any("[]com.sun.star.beans.PropertyValue", _properties(options))
    with _refusing():
        document.storeToURL(path.as_uri(), _properties({"FilterName": f"{kind}_pdf_Export", "FilterData": data}))
    if not path.exists() or not path.stat().st_size:
        raise ConversionError("corrupt", f"{NAME} makes no pages of it")


def _freeze_dates(document: Any, kind: str) -> None:
    """Set fields that show the current date or time to the document's own: the same file gives the same pages."""
    moment = _moment(document.DocumentProperties)
    if kind.startswith("writer"):
        for field in _listed(document.TextFields):
            if _shows_now(field):
                field.IsFixed = True
                field.DateTimeValue = moment
    for text, part in list(_dated_parts(document)) if kind in ("impress", "draw") else ():
        text.insertTextContent(part, _fixed(document, part.TextField, moment), True)
    for page in _slides(document) if kind == "impress" else ():
        if page.IsDateTimeVisible and not page.IsDateTimeFixed:
            page.IsDateTimeFixed = True
            page.DateTimeText = f"{moment.Year:04}-{moment.Month:02}-{moment.Day:02}"


def _moment(properties: Any) -> Any:
    """Return when the document was last changed, or made; a moment of its own for one that does not say it."""
    for moment in (properties.ModificationDate, properties.CreationDate):
        if moment.Year > 0:
            return moment
    return DateTime(0, 0, 0, 0, 1, 1, _UNDATED_YEAR, False)


def _fixed(document: Any, field: Any, moment: Any) -> Any:
    """Return a field like another one, for a moment. In a presentation, fields cannot be changed, only replaced."""
    fixed = document.createInstance(_DATE_FIELD)
    fixed.IsDate, fixed.NumberFormat, fixed.IsFixed, fixed.DateTime = field.IsDate, field.NumberFormat, True, moment
    return fixed


def _dated_parts(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the text and the part of it, of each field on slides and their masters that shows the current moment."""
    for page in _pages(document):
        for shape in _shapes(page):
            # Reading the text first makes LibreOffice compute its fields: until then, they are not listed as such.
            for paragraph in _listed(shape) if getattr(shape, "String", "") else ():
                for part in _listed(paragraph):
                    if part.TextPortionType == "TextField" and _shows_now(part.TextField):
                        yield shape, part


def _shows_now(field: Any) -> bool:
    return bool(field.supportsService(_DATE_FIELD)) and not field.IsFixed


def _pages(document: Any) -> Iterator[Any]:
    for pages in (document.DrawPages, document.MasterPages):
        for index in range(pages.Count):
            yield pages.getByIndex(index)


def _shapes(group: Any) -> Iterator[Any]:
    for index in range(group.Count):
        shape = group.getByIndex(index)
        if shape.supportsService("com.sun.star.drawing.GroupShape"):
            yield from _shapes(shape)
        else:
            yield shape


def _listed(container: Any) -> Iterator[Any]:
    elements = container.createEnumeration()
    while elements.hasMoreElements():
        yield elements.nextElement()


def _slides(document: Any) -> Iterator[Any]:
    for index in range(document.DrawPages.Count):
        yield document.DrawPages.getByIndex(index)


def _notes(slide: Any) -> str:
    page = slide.NotesPage
    shapes = (page.getByIndex(index) for index in range(page.Count))
    texts = (
        shape.String for shape in shapes if shape.ShapeType in _NOTES_SHAPES and not shape.IsEmptyPresentationObject
    )
    return "\n\n".join(text for text in texts if text.strip())[:_MAX_NOTE_CHARS]


def _missing_fonts(office: _Office, document: Any, path: Path, kind: str) -> list[str]:
    """Return the fonts that a document names and that are not installed.

    The document is saved as ODF, whose files declare all fonts in the same two parts, whatever the original format.
    """
    with _refusing():
        document.storeToURL(path.as_uri(), _properties({"FilterName": _ODF_FILTERS[kind]}))
    if not zipfile.is_zipfile(path):
        return []
    device = office.service("com.sun.star.awt.Toolkit").createScreenCompatibleDevice(0, 0)
    installed = {font.Name.lower() for font in device.getFontDescriptors()} | _DEFAULT_FONTS
    missing = {name.lower(): name for name in _named_fonts(path) if name.lower() not in installed}
    return sorted(missing.values())[:_MAX_FONTS]


def _named_fonts(path: Path) -> Iterator[str]:
    with zipfile.ZipFile(path) as package:
        for part in ("styles.xml", "content.xml"):
            with package.open(part) as file:
                head = file.read(_FONTS_WITHIN)
            for family in _FONT.findall(head):
                # The first font of a list counts. A name that begins with a plus refers to a font of the theme.
                name = re.split("[;,]", html.unescape(family.decode("utf-8", "replace")))[0].strip(" '\"")
                if name and not name.startswith("+"):
                    yield name[:_MAX_FONT_CHARS]


@contextmanager
def _refusing() -> Iterator[None]:
    """Suppress LibreOffice's refusals of a document, but not the errors of the bridge, which mean that it ended."""
    try:
        yield
    except uno.getClass("com.sun.star.uno.RuntimeException") as error:
        if not isinstance(error, uno.getClass("com.sun.star.lang.IllegalArgumentException")):
            raise
    except uno.getClass("com.sun.star.uno.Exception"):
        return


def _properties(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(PropertyValue(name, 0, value, 0) for name, value in values.items())
