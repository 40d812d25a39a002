from tests.support.selection import only_on

pytest_ignore_collect = only_on("cpu")
