"""Unpacks a wheel's headers and libraries: WHEEL TREE HEADERS LIBRARY...

HEADERS is a folder in the wheel, with its closing slash, that becomes TREE/include; empty for none.
Each LIBRARY, found by name in any folder `lib` of the wheel, goes to TREE/lib.
zipfile compares every member with its checksum; exit code 3 says that the wheel is damaged.
"""

import os
import shutil
import sys
import zipfile
import zlib

wheel, tree, headers = sys.argv[1:4]
libraries = set(sys.argv[4:])


def destination(member):
    folder, _, name = member.rpartition("/")
    if ".." in member.split("/") or not name:
        return None
    if headers and member.startswith(headers):
        return os.path.join(tree, "include", member[len(headers) :])
    if name in libraries and folder.split("/")[-1] == "lib":
        return os.path.join(tree, "lib", name)
    return None


def unpack():
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            path = destination(member)
            if path is None:
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(member) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())


try:
    unpack()
except (zipfile.BadZipFile, zlib.error, EOFError) as error:
    sys.exit(print(error, file=sys.stderr) or 3)
except OSError as error:
    sys.exit(print(error, file=sys.stderr) or 4)
