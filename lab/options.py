"""What the commands share: options, the group that makes one line of an error, the values of parameters."""

from __future__ import annotations

import ast
import itertools
import os
import re
import sys

import click

from lab import config as lab_config
from lab import files, interrupts
from lab.errors import LabError, Stopped


class LabGroup(click.Group):
    """A group that turns a ``LabError`` into one line and exit status 1, a call that is wrong into one and 2."""

    def main(self, *args, standalone_mode=True, **kwargs):
        try:
            sys.exit(super().main(*args, standalone_mode=False, **kwargs))
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help())
            sys.exit(2)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "lab"
            click.echo(f"错误：{_wrong(error)}可用的写法见uv run {command} --help。", err=True)
            sys.exit(2)
        except click.Abort:  # click's name for Ctrl-C
            click.echo(str(Stopped()), err=True)
            sys.exit(130)

    def invoke(self, ctx):
        try:
            with interrupts.repeated():
                return super().invoke(ctx)
        except LabError as error:
            click.echo(f"错误：{error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            raise click.Abort from None


def _wrong(error: click.ClickException) -> str:
    """A Chinese sentence for what click says in English of a wrong call."""
    name = error.param.opts[-1] if getattr(error, "param", None) else getattr(error, "option_name", "")
    close = "、".join(getattr(error, "possibilities", None) or ())
    hint = f"是不是想写{close}？" if close else ""
    if isinstance(error, click.exceptions.NoSuchCommand):
        return f"没有命令{error.command_name}。{hint}"
    if isinstance(error, click.NoSuchOption):
        return f"没有选项{name}。{hint}"
    if isinstance(error, click.MissingParameter):
        return f"缺少{name}。"
    if isinstance(error, click.BadOptionUsage):
        return f"选项{name}后面缺少值，或值太多。"
    if isinstance(error, click.BadParameter):
        return f"{name}的值不可用（{error.message.rstrip('.')}）。"
    return f"写法有误（{error.message.rstrip('.')}）。"


def dataset_option(command):
    """The data set, by its canonical name from here on."""
    return click.option(
        "--dataset",
        default="aclImdb",
        show_default=True,
        callback=lambda _, __, value: lab_config.Config(DATASET=value).DATASET,
        help="数据集：aclImdb或sample（内置的合成影评）。",
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


def seeds_option(command):
    """Seeds, single ones and ranges."""
    text = "随机种子，可重复，也可写成2077-2081。"
    return click.option(
        "--seed", "seeds", multiple=True, default=["2077"], show_default=True, callback=_seeds, help=text
    )(command)


def _seeds(_, __, given: tuple[str, ...]) -> list[int]:
    """The seeds that texts such as ``2077`` and ``2077-2081`` stand for, each once."""
    found: dict[int, None] = {}
    for text in given:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < first + 1000:
            raise LabError(f"--seed的值{text!r}不可用：写一个种子如2077，或一段如2077-2081（至多1000个）。")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)


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
    if data_dir is not None:
        if not data_dir or not files.expanded(data_dir).is_dir():
            raise LabError(f"没有文件夹{data_dir}（--data-dir）。请先建立它，或改用已有的文件夹。")
        os.environ["LAB_DATA"] = data_dir
    if os.environ.get("LAB_DATA"):
        os.environ["LAB_DATA"] = str(files.source_dir())


def refuse(failures: list[str]) -> None:
    """``LabError`` with the texts of the configurations that failed, if any did."""
    if failures:
        raise LabError(f"{len(failures)}个配置失败：{'；'.join(failures)}")


def values(dataset: str, parameters) -> dict:
    """The parameters of a run, from its options, each given once."""
    names = [name for name, _ in parameters]
    if twice := [name for name in names if names.count(name) > 1]:
        raise LabError(f"参数{twice[0]}写了不止一次。请只留一个值，或用uv run lab grid --sweep依次取几个值。")
    return {"DATASET": dataset} | {name: value(text) for name, text in parameters}


def value(text: str):
    """A parameter's value as Python would read it, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def product(sweep: tuple[str, ...]) -> list[dict]:
    """Every combination of the values in texts such as ``HIDDEN_DIM=64,128``."""
    found = {}
    for text in sweep:
        name, _, given = text.partition("=")
        if not (name and given) or name in found:
            raise LabError(
                f"--sweep的值{text!r}不可用：写成一个参数与几个值，例如HIDDEN_DIM=64,128；一个参数只写一次。"
            )
        if name in ("SEED", "DATASET"):
            raise LabError(f"--sweep不能改变{name}。种子请用--seed，数据集请用--dataset。")
        found[name] = [value(each.strip()) for each in given.split(",")]
    return [dict(zip(found, row, strict=True)) for row in itertools.product(*found.values())]
