"""Tables and figures as readers see them."""

import logging

# what matplotlib says of a folder that it cannot write to, or of its first start, is no output of a notebook
_OF_FOLDERS = ("mkdir -p failed", "%s is not a writable", "Matplotlib created a temporary", "Matplotlib is building")
for _name in ("matplotlib", "matplotlib.font_manager"):
    logging.getLogger(_name).addFilter(lambda record: not str(record.msg).startswith(_OF_FOLDERS))
