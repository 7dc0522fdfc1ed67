"""What the commands share: options, the group that makes one line of an error, the values of parameters."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import click

from lab import config as lab_config
from lab import files
from lab.errors import LabError, Stopped


class LabGroup(click.Group):
    """A group that turns a ``LabError`` into one line and exit status 1."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except LabError as error:
            click.echo(f"错误：{error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo(str(Stopped()), err=True)
            sys.exit(130)


def dataset_option(command):
    """The data set, by its canonical name from here on."""
    return click.option(
        "--dataset",
        default="aclImdb",
        show_default=True,
        callback=lambda _, __, value: lab_config.Config(DATASET=value).DATASET,
        help="数据集：aclImdb或sample（内置的人造影评）。",
    )(command)


def data_options(command):
    """Options of every command that reads data."""
    command = dataset_option(command)
    return click.option("--data-dir", help="原始数据所在的文件夹，默认为环境变量LAB_DATA或data/。")(command)


def workers_option(command):
    """How many configurations run at the same time."""
    # A worker with one thread wastes nothing; more than four want more memory than a laptop has to spare.
    cores = min(4, os.cpu_count() or 1)
    text = "同时运行的配置数，线程平分；默认为核数，至多4。"
    return click.option("--workers", default=cores, show_default=True, type=click.IntRange(1, 64), help=text)(command)


def parameters_option(notebook: str):
    """Parameters of a run, the same as those of ``notebook``."""
    text = f"参数及其值，可重复；与{notebook}的参数相同。"
    return click.option("-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help=text)


def again_option(command):
    """Train although the run is finished."""
    return click.option("--again", is_flag=True, help="已经训练完成时重新训练。")(command)


def cover_options(command):
    """What the report's cover says; remembered in ``report/cover.json``."""
    for name, text in (("date", "日期，默认为最近一次运行的日期"), ("student-id", "学号"), ("name", "姓名")):
        command = click.option(f"--{name}", help=f"封面上的{text}；会记在report/cover.json里，下次不必再写。")(command)
    return command


def use_data_dir(data_dir: str | None) -> None:
    """Make the source folder absolute: notebooks run in other working directories."""
    if data_dir:
        if not Path(data_dir).expanduser().is_dir():
            raise LabError(f"没有文件夹{data_dir}（--data-dir）。请先建立它，或改用已有的文件夹。")
        os.environ["LAB_DATA"] = data_dir
    if os.environ.get("LAB_DATA"):
        os.environ["LAB_DATA"] = str(files.source_dir())


def values(dataset: str, parameters) -> dict:
    """The parameters of a run, from its options."""
    return {"DATASET": dataset} | {name: value(text) for name, text in parameters}


def value(text: str):
    """A parameter's value as Python would read it, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
