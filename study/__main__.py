"""``python -m study``"""

from study.commands.app import main

main()
