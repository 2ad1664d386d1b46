"""Leaves a module in the environment that runs this, so that the node knows it was run there."""

import pathlib
import sysconfig

mark = pathlib.Path(sysconfig.get_path("purelib")) / "comfyd_invert_mark.py"
mark.write_text('"""comfyd-invert\'s install.py was run."""\n')
