"""The ``lab`` command: thin over the package; help and errors are Chinese."""

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


@click.group(cls=LabGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """循环神经网络实验：准备数据、训练、生成报告。"""


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[JupyterLab的选项]")
def start(arguments):
    """打开JupyterLab：笔记本的工作副本在work/，从首页开始。"""
    from lab import start

    folder = files.home() / "work"
    for line in start.copy_notebooks(folder):
        click.echo(line)
    start.start(folder, list(arguments))


@main.command()
@data_options
@click.option("--seed", default=2077, show_default=True, help="划分训练集与验证集的种子。")
def prepare(dataset, data_dir, seed):
    """准备数据：分词、词表、编码缓存、词向量。"""
    use_data_dir(data_dir)

    from lab.data import summary

    summary.prepare(lab_config.Config(DATASET=dataset, SEED=seed).DATASET, seed, click.echo)


@main.command()
@data_options
@parameters_option("03_train.ipynb")
@again_option
def train(dataset, data_dir, parameters, again):
    """训练一个配置（与03_train.ipynb相同，不经过笔记本）。"""
    use_data_dir(data_dir)
    config = lab_config.from_dict(_values(dataset, parameters))

    from lab.training import runs  # torch takes seconds to load: not before the parameters are right

    result = runs.run(config, again)
    click.echo(
        f"{result['run_id']}：第{result['best_epoch']}轮验证损失最低；测试准确率{result['test']['accuracy']:.2%}，"
        f"用时{result['seconds']:.0f}秒。"
    )
    click.echo(f"结果文件：{files.result_path(result['config']['DATASET'], result['run_id'])}")


@main.command()
@data_options
@parameters_option("04_language_model.ipynb")
@again_option
def lm(dataset, data_dir, parameters, again):
    """训练一个语言模型，与一元、三元语法模型比较困惑度，并写几段文字。"""
    use_data_dir(data_dir)
    config = lab_config.from_dict(_values(dataset, parameters), lab_config.LanguageConfig)

    from lab.language import ngram, runs

    counted, result = ngram.run(config), runs.run(config, again)
    click.echo(
        f"{result['run_id']}：验证集困惑度{result['valid']['perplexity']:.1f}（一元语法模型{counted['unigram']['perplexity']:.1f}，"
        f"三元语法模型{counted['trigram']['perplexity']:.1f}），用时{result['seconds']:.0f}秒。"
    )
    for sample in result["samples"]:
        click.echo(f"温度{sample['temperature']}，top-k为{sample['top_k'] or '不限'}：{sample['text']}")
    click.echo(f"结果文件：{files.result_path(config.DATASET, result['run_id'])}")


def _values(dataset: str, parameters) -> dict:
    """The parameters of a run, from its options."""
    return {"DATASET": dataset} | {name: _value(text) for name, text in parameters}


def _value(text: str):
    """A parameter's value as Python would read it, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@main.command()
@data_options
@click.option("--only", help="只运行名字匹配的配置，例如'lstm-1x*'。")
@click.option("--seed", "seeds", multiple=True, type=int, default=[2077], show_default=True, help="随机种子，可重复。")
@parameters_option("03_train.ipynb")
@workers_option
@click.option("--again", is_flag=True, help="已有的结果来自别的影评、划分或词向量时，用现在的数据重新运行。")
def grid(dataset, data_dir, only, seeds, parameters, workers, again):
    """用papermill运行实验的16个配置；已完成的跳过，中断后可继续。"""
    use_data_dir(data_dir)
    _grid(only, seeds, _values(dataset, parameters), workers, again)


def _grid(only, seeds, settings: dict, workers, again=False) -> None:
    from lab.training import grid, traces

    if "SEED" in settings:
        raise LabError("实验表的种子请用--seed设定，可重复。")
    cells = [cell for seed in seeds for cell in grid.configs(**settings, SEED=seed)]
    failures = grid.run(grid.select(cells, only), workers, again)
    traces.write(settings["DATASET"])
    if failures:
        raise LabError(f"{len(failures)}个配置失败：{'；'.join(failures)}")


@main.command()
@data_options
@click.option("--seed", "seeds", multiple=True, type=int, default=[2077], show_default=True, help="随机种子，可重复。")
@workers_option
def controls(dataset, data_dir, seeds, workers):
    """运行对照：随机词向量的RNN与LSTM，以及不看词序的线性模型。"""
    from lab.training import grid, linear

    use_data_dir(data_dir)
    for seed in seeds:
        config = lab_config.from_dict(dict(DATASET=dataset, SEED=seed))
        path = files.result_path(config.DATASET, linear.run_id(config))
        if not path.is_file():
            result = linear.run(config)
            click.echo(f"{result['run_id']}：测试准确率{result['test']['accuracy']:.2%}。")
    failures = grid.run([cell for seed in seeds for cell in grid.controls(DATASET=dataset, SEED=seed)], workers)
    if failures:
        raise LabError(f"{len(failures)}个配置失败：{'；'.join(failures)}")


@main.command()
@dataset_option
@cover_options
def report(dataset, **cover):
    """由已有的结果文件生成报告（HTML、PDF和Word）。"""
    _report(dataset, **cover)


def _report(dataset, **cover) -> None:
    from lab.results import build

    for path in build.build(dataset, **cover):
        click.echo(f"报告：{path}")


@main.command()
@data_options
@click.option("--only", help="只重新测量一项，例如epochs或grid。")
def bench(dataset, data_dir, only):
    """测量性能（约20分钟，期间不要运行别的程序），写入report/results/bench.json。"""
    use_data_dir(data_dir)

    from lab import bench
    from lab.results import speed

    machine = bench.run(dataset, only)
    click.echo(speed.table([machine]).to_string(index=False, float_format="%.2f"))
    click.echo(speed.grid_sentence([machine]))
    click.echo(f"结果文件：{speed.path()}")


@main.command(name="all")
@data_options
@workers_option
@cover_options
def everything(dataset, data_dir, workers, **cover):
    """依次完成：准备数据、训练报告里的全部模型、生成报告。"""
    use_data_dir(data_dir)

    from lab import experiment
    from lab.data import summary

    summary.prepare(dataset, 2077, click.echo)
    failures = experiment.run(dataset, 2077, workers, click.echo)
    _report(dataset, **cover)
    if failures:
        raise LabError(f"{len(failures)}个配置失败：{'；'.join(failures)}")


@main.command()
@click.argument("text", nargs=-1)
@dataset_option
@click.option("--run", "run_id", help="运行名，例如lstm-1x1-100d-s2077；默认取验证损失最低的一个。")
def predict(text, dataset, run_id):
    """用训练好的模型判断任意英文文本的情感。"""
    from lab.model import classifier
    from lab.training import runs

    config, model, vocabulary = runs.load_run(runs.find_run(dataset, run_id))
    probability = classifier.predict(model, vocabulary, " ".join(text))
    click.echo(f"{config.run_id}：正面的概率{probability:.1%}，判为{'正面' if probability > 0.5 else '负面'}。")


@main.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
def verify(paths):
    """（教师）核对交来的结果文件：是否前后一致，是否与本班的数据相符。"""
    from lab import classroom

    failed = 0
    for path in paths:
        try:
            click.echo(f"相符　{classroom.verify(path)}")
        except LabError as error:
            failed += 1
            click.echo(f"不符　{error}")
    if failed:
        raise LabError(f"{len(paths)}个文件中有{failed}个不符。")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def handout(folder):
    """（教师）把笔记本复制到FOLDER，去掉其中标记的答案。"""
    from lab import classroom

    for path, blanks in classroom.handout(folder):
        click.echo(f"{path}：去掉{blanks}处答案。")


if __name__ == "__main__":
    main()
