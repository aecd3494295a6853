"""``python -m study``, and the command ``study``"""

from study.commands.app import main

if __name__ == "__main__":
    main()
