"""Dead code: vulture, told what it cannot know of typed Python. A field that is filled by keyword is in use; so are the
fields of a model (what it dumps, somebody reads), the members of an enum, and the arguments of a function with no body
(a port, an overload)."""

import ast
import sys

from vulture.config import make_config
from vulture.core import Vulture


class Reader(Vulture):
    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg:
            self.used_names.add(node.arg)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:  # noqa: N802  vulture's name
        super().visit_ClassDef(node)
        if node.bases:
            fields = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
            self.used_names.update(field.id for field in fields if isinstance(field, ast.Name))
        if any(isinstance(base, ast.Name) and base.id.endswith("Enum") for base in node.bases):
            members = [name for line in node.body if isinstance(line, ast.Assign) for name in line.targets]
            self.used_names.update(member.id for member in members if isinstance(member, ast.Name))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:  # noqa: N802  vulture's name
        super().visit_FunctionDef(node)
        if all(
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) for statement in node.body
        ):
            self.used_names.update(argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg))


config = make_config()
reader = Reader(ignore_names=config["ignore_names"], ignore_decorators=config["ignore_decorators"])
reader.scavenge(config["paths"], exclude=config["exclude"])
sys.exit(reader.report(min_confidence=config["min_confidence"]))
