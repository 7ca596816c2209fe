"""The command line as a whole: what commands there are. A command's module is imported when the
command is called; the list of commands needs none of them.
"""

import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from quickstudy.core.errors import ConfigError
from quickstudy.version import __version__

OWN_DATA = "Your own data"
GALLERIES = "Galleries"
RESEARCH = "Research"
MEASURING = "Measuring"


@dataclass(frozen=True)
class Command:
    """A command, or a group of commands.

    Args:
        name: as typed.
        place: "module:attribute" in `quickstudy.cli`; a function, or a ``typer.Typer``.
        panel: the heading it stands under.
        summary: one line for the list of commands.
    """

    name: str
    place: str
    panel: str
    summary: str

    def load(self) -> Any:
        """The command, as the command line runs it."""
        module, _, attribute = self.place.partition(":")
        with _without_collecting():
            command = getattr(importlib.import_module(f"quickstudy.cli.{module}"), attribute)
        parent = typer.Typer(add_completion=False)
        if isinstance(command, typer.Typer):
            parent.add_typer(command, name=self.name)
            group: Any = typer.main.get_command(parent)
            return group.commands[self.name]
        parent.command(self.name)(command)
        return typer.main.get_command(parent)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """While modules are imported, Python does not look for garbage, and never among what they left:
    torch and scikit-learn make hundreds of thousands of objects that stay, and going through them
    again and again took a sixth of the time of such imports (measured 2026-11).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


COMMANDS = (
    Command("fit", "fit:fit", OWN_DATA, "Make a model from a folder of classes or a table."),
    Command("predict", "predict:predict", OWN_DATA, "Ask a model about files, folders or tables."),
    Command("score", "score:score", OWN_DATA, "Accuracy on new labelled files, and a page."),
    Command("classes", "classes:classes", OWN_DATA, "List the classes of a model."),
    Command("add-class", "predict:add_class", OWN_DATA, "Add a class to a model, or examples."),
    Command("remove-class", "predict:remove_class", OWN_DATA, "Take a class out of a model."),
    Command("inspect", "inspect:inspect", OWN_DATA, "Find defects, knowing good parts only."),
    Command("encode", "encode:encode", OWN_DATA, "Turn files into vectors."),
    Command("export", "export:export", OWN_DATA, "Write a model as one ONNX file."),
    Command("serve", "serve:serve", OWN_DATA, "Serve models and galleries over HTTP."),
    Command("serve-key", "serve:serve_key", OWN_DATA, "Make and remove the keys of a server."),
    Command("gallery", "gallery:gallery", GALLERIES, "Enrol, identify and verify identities."),
    Command("demo", "demo:demo", RESEARCH, "Train on drawn characters in a few minutes."),
    Command("list", "recipes:list_parts", RESEARCH, "List recipes by family, encoders, data."),
    Command("show", "recipes:show", RESEARCH, "Show everything that a recipe fixes, as JSON."),
    Command("train", "research:train", RESEARCH, "Meta-train a recipe and score it."),
    Command("tune", "tune:tune", RESEARCH, "Search for settings of a recipe."),
    Command("eval", "research:evaluate_run", MEASURING, "Score a trained run."),
    Command("compare", "research:compare", MEASURING, "Compare two runs on the same tasks."),
    Command("analyse", "analyse:analyse", MEASURING, "Look into trained learners."),
    Command("bench", "bench:bench", MEASURING, "Measure speed and rows of results."),
)


class LazyGroup(TyperGroup):
    """The commands above by their summaries; the one that is called is loaded."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for command in COMMANDS:
            self.commands[command.name] = TyperCommand(
                command.name, help=command.summary, rich_help_panel=command.panel
            )

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order above."""
        return [command.name for command in COMMANDS]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments call, loaded, and the arguments that are its own."""
        name, _, rest = super().resolve_command(ctx, args)
        by_name = {command.name: command for command in COMMANDS}
        return name, by_name[str(name)].load(), rest


app = typer.Typer(
    cls=LazyGroup,
    help="Train a model on many learning tasks so that it solves new tasks from a few examples.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def options(
    data_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the data sets; default: QUICKSTUDY_DATA, else the user's cache "
            "folder."
        ),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Options that stand before the command."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if data_root is not None:
        if not data_root.is_dir():
            raise ConfigError(f"--data-root {data_root} is not a folder. Name one that exists.")
        os.environ["QUICKSTUDY_DATA"] = str(data_root)
