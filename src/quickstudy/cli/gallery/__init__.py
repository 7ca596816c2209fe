"""The commands ``gallery …``: enrol people or things by their photos or voices, recognise them,
refuse impostors. A file per group.
"""

import typer

from quickstudy.cli.gallery.ask import identify, verify
from quickstudy.cli.gallery.audit import audit
from quickstudy.cli.gallery.copies import backup, export_gallery, import_gallery
from quickstudy.cli.gallery.enrol import create, enrol, enrol_folder
from quickstudy.cli.gallery.evaluate import evaluate_gallery
from quickstudy.cli.gallery.people import (
    erase,
    expire,
    list_identities,
    look_alikes,
    merge,
    purge,
    remove,
    rename,
)
from quickstudy.cli.gallery.thresholds import calibrate, info, policy

gallery = typer.Typer(
    help="Enrol people or things by a photo or two, recognise them, refuse impostors.",
    no_args_is_help=True,
)
gallery.command()(create)
gallery.command()(enrol)
gallery.command("enrol-folder")(enrol_folder)
gallery.command()(identify)
gallery.command()(verify)
gallery.command()(info)
gallery.command()(calibrate)
gallery.add_typer(policy, name="policy")
gallery.command("evaluate")(evaluate_gallery)
gallery.command("list")(list_identities)
gallery.command("look-alikes")(look_alikes)
gallery.command()(merge)
gallery.command()(rename)
gallery.command()(remove)
gallery.command()(expire)
gallery.command()(purge)
gallery.add_typer(audit, name="audit")
gallery.command("export")(export_gallery)
gallery.command("import")(import_gallery)
gallery.command()(backup)
gallery.command()(erase)
