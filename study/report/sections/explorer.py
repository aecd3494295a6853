"""All trials to ask: pick, drag a region of the front, and copy the command and the MLflow filter of what is inside."""

from pathlib import Path

from markupsafe import Markup

from study.report import explorer
from study.report.content import Content
from study.report.explorer.data import as_json, asked, data
from study.report.parts import ENVIRONMENT, Part, Section, note

FOLDER = Path(explorer.__file__).parent
SCRIPTS = ("questions.js", "plot.js", "controls.js")  # one module, in this order
HOW = """Drag over the plot, or type bounds: the commands beside it find what is inside. Colours are NIPs, shapes
cameras; filled markers of means and their lines are the fronts, which the validation photographs decide. The tab key
reaches the plot, arrows lead from point to point, Enter keeps one, Escape clears the region."""


def section(content: Content) -> Section:
    done = asked(content)
    if done.empty:
        return Section("", [])
    script = "\n".join((FOLDER / name).read_text("utf-8") for name in SCRIPTS)
    html = ENVIRONMENT.get_template("explorer.html.j2").render(data=as_json(data(content, done)), script=script)
    style = Markup("<style>\n{}</style>\n").format(Markup((FOLDER / "explorer.css").read_text("utf-8")))
    return Section("Ask the trials", [note(HOW), Part(html)], head=style)
