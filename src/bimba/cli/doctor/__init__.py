"""`bimba doctor`: nothing in; what this machine has, what it can run and what to install out.

`hardware` and `diagnosis` find out what is there, `capability` judges what that is enough for, `command` prints it.
"""

from bimba.cli.doctor.command import doctor

__all__ = ["doctor"]
