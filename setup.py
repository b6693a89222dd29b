"""Packaging of netbuilder: pyproject.toml says it all, except that the configs travel inside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = Path(__file__).resolve().parent / "configs"


class BuildWithConfigs(build_py):
    """Copies `configs/` to `netbuilder/configs/` of what is built; an editable install reads the clone's."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree(CONFIGS, Path(self.build_lib) / "netbuilder" / "configs", dirs_exist_ok=True)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        copied = Path(self.build_lib) / "netbuilder" / "configs"
        return [
            *super().get_outputs(include_bytecode),
            *(str(copied / path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*") if path.is_file()),
        ]


setup(cmdclass={"build_py": BuildWithConfigs})
