"""The dump's `index.html`: one self-contained interactive page.

`Recording` collects the programs while a run goes on, `Contents` is everything the page knows, `index_html` the page.
The page's own code is in `script/` and `style/`, and is put into every page it is written to.
"""

from .assembly import data_of, index_html, page_html
from .contents import Contents, Measure, StageFiles
from .recording import Recording

__all__ = ["Contents", "Measure", "Recording", "StageFiles", "data_of", "index_html", "page_html"]
