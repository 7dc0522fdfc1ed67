"""The ``lab`` command: thin over the package; help and errors are Chinese."""

from __future__ import annotations

from pathlib import Path

import click

from lab import config as lab_config
from lab import files, options
from lab.errors import LabError


@click.group(cls=options.LabGroup, context_settings={"help_option_names": ["-h", "--help"]})
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
@options.data_options
@click.option("--seed", default=2077, show_default=True, help="划分训练集与验证集的种子。")
def prepare(dataset, data_dir, seed):
    """准备数据：分词、词表、编码缓存、词向量。"""
    options.use_data_dir(data_dir)

    from lab.data import summary

    summary.prepare(lab_config.Config(DATASET=dataset, SEED=seed).DATASET, seed, click.echo)


@main.command()
@options.data_options
@options.parameters_option("03_train.ipynb")
@options.again_option
def train(dataset, data_dir, parameters, again):
    """训练一个配置（与03_train.ipynb相同，不经过笔记本）。"""
    options.use_data_dir(data_dir)
    config = lab_config.from_dict(options.values(dataset, parameters))

    from lab.training import runs  # torch takes seconds to load: not before the parameters are right

    result = runs.run(config, again)
    click.echo(
        f"{result['run_id']}：第{result['best_epoch']}轮验证损失最低；测试准确率{result['test']['accuracy']:.2%}，"
        f"用时{result['seconds']:.0f}秒。"
    )
    click.echo(f"结果文件：{files.result_path(result['config']['DATASET'], result['run_id'])}")


@main.command()
@options.data_options
@options.parameters_option("04_language_model.ipynb")
@options.again_option
def lm(dataset, data_dir, parameters, again):
    """训练一个语言模型，与一元、三元语法模型比较困惑度，并写几段文字。"""
    options.use_data_dir(data_dir)
    config = lab_config.from_dict(options.values(dataset, parameters), lab_config.LanguageConfig)

    from lab.language import ngram, runs

    counted, result = ngram.run(config), runs.run(config, again)
    click.echo(
        f"{result['run_id']}：验证集困惑度{result['valid']['perplexity']:.1f}（一元语法模型{counted['unigram']['perplexity']:.1f}，"
        f"三元语法模型{counted['trigram']['perplexity']:.1f}），用时{result['seconds']:.0f}秒。"
    )
    for sample in result["samples"]:
        click.echo(f"温度{sample['temperature']}，top-k为{sample['top_k'] or '不限'}：{sample['text']}")
    click.echo(f"结果文件：{files.result_path(config.DATASET, result['run_id'])}")


@main.command()
@options.data_options
@click.option("--only", help="只运行名字匹配的配置，例如'lstm-1x*'。")
@options.seeds_option
@options.parameters_option("03_train.ipynb")
@click.option("--sweep", multiple=True, metavar="NAME=V1,V2,…", help="让一个参数依次取几个值，可重复，取全部组合。")
@options.workers_option
@click.option(
    "--scheduler", metavar="tcp://HOST:8786", help="在这个dask调度器的工作进程上运行（uv sync --extra cluster）。"
)
@click.option("--slurm", metavar="分区", help="向SLURM的这个分区申请工作进程，在它们上面运行。")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="向SLURM申请的工作进程数。")
@click.option("--dry-run", is_flag=True, help="只列出将运行哪些配置、已完成哪些，并估计时间。")
@click.option("--again", is_flag=True, help="已有的结果来自别的影评、划分或词向量时，用现在的数据重新运行。")
def grid(dataset, data_dir, only, seeds, parameters, sweep, workers, scheduler, slurm, jobs, dry_run, again):
    """用papermill运行实验的16个配置；已完成的跳过，中断后可继续。"""
    options.use_data_dir(data_dir)

    from lab.training import grid, traces

    settings = options.values(dataset, parameters)
    if "SEED" in settings:
        raise LabError("实验表的种子请用--seed设定，可重复，也可写成2077-2081。")
    rows = [settings | row for row in options.product(sweep)]
    cells = grid.select([cell for seed in seeds for row in rows for cell in grid.configs(**row, SEED=seed)], only)
    if dry_run:
        for config in cells:
            done = files.result_path(config.DATASET, config.run_id).is_file()
            click.echo(f"{'已完成' if done else '将运行'}　{config.run_id}")
        from lab import experiment

        click.echo(experiment.estimate(cells[0].DATASET, [config.run_id for config in cells], workers))
        return
    if scheduler or slurm:
        from lab.training import cluster

        with cluster.connected(scheduler, slurm, jobs) as client:
            failures = cluster.run(cells, client, again)
    else:
        failures = grid.run(cells, workers, again)
    traces.write(cells[0].DATASET)
    options.refuse(failures)


@main.command()
@options.data_options
@options.seeds_option
@options.workers_option
def controls(dataset, data_dir, seeds, workers):
    """运行对照：随机词向量的RNN与LSTM，以及线性模型。"""
    from lab.training import grid, linear

    options.use_data_dir(data_dir)
    for seed in seeds:
        config = lab_config.from_dict(dict(DATASET=dataset, SEED=seed))
        path = files.result_path(config.DATASET, linear.run_id(config))
        if not path.is_file():
            result = linear.run(config)
            click.echo(f"{result['run_id']}：测试准确率{result['test']['accuracy']:.2%}。")
    failures = grid.run([cell for seed in seeds for cell in grid.controls(DATASET=dataset, SEED=seed)], workers)
    options.refuse(failures)


@main.command()
@options.dataset_option
@options.cover_options
def report(dataset, **cover):
    """由已有的结果文件生成报告（HTML、PDF和Word）。"""
    _report(dataset, **cover)


def _report(dataset, **cover) -> None:
    from lab.results import build

    for path in build.build(dataset, **cover):
        click.echo(f"报告：{path}")


@main.command()
@options.data_options
@click.option("--only", help="只重新测量一项，例如epochs或grid。")
def bench(dataset, data_dir, only):
    """测量性能（约20分钟，期间不要运行别的程序），写入report/results/bench.json。"""
    options.use_data_dir(data_dir)

    from lab import bench
    from lab.results import speed

    machine = bench.run(dataset, only)
    click.echo(speed.table([machine]).to_string(index=False, float_format="%.2f"))
    click.echo(speed.grid_sentence([machine]))
    click.echo(f"结果文件：{speed.path()}")


@main.command(name="all")
@options.data_options
@options.workers_option
@options.cover_options
@click.option("--fresh", is_flag=True, help="先把已有的结果文件（包括随项目附带的）移到旁边的文件夹，全部重新训练。")
def everything(dataset, data_dir, workers, fresh, **cover):
    """依次完成：准备数据、训练报告里的全部模型、生成报告。"""
    options.use_data_dir(data_dir)

    from lab import experiment
    from lab.data import summary

    if fresh and (kept := experiment.set_aside(dataset)):
        click.echo(f"已有的结果文件移到了{kept}。")
    summary.prepare(dataset, 2077, click.echo)
    failures = experiment.run(dataset, 2077, workers, click.echo)
    _report(dataset, **cover)
    options.refuse(failures)


@main.command()
@options.data_options
@click.option("--seed", default=2077, show_default=True, help="随机种子。")
@click.option("--steps", is_flag=True, help="也训练中间的各步，用来比较每一步的增益。")
def best(dataset, data_dir, seed, steps):
    """训练最强的分类器：先训练双向语言模型，再以它初始化分类器，作对抗训练；中断后可继续。"""
    options.use_data_dir(data_dir)

    from lab import experiment, recipes

    for result in experiment.best(dataset, seed, recipes.STEPS[0 if steps else -1 :]):
        click.echo(f"{result['run_id']}：测试准确率{result['test']['accuracy']:.2%}。")


@main.command()
@click.argument("text", nargs=-1)
@options.dataset_option
@click.option(
    "--run",
    "run_id",
    help="运行名，例如lstm-1x1-100d-s2077；默认取验证损失最低的一个，还没有训练时用随项目附带的模型（shipped）。",
)
def predict(text, dataset, run_id):
    """用训练好的模型判断任意英文文本的情感。"""
    from lab.model import classifier
    from lab.training import runs

    config, model, vocabulary = runs.load_run(runs.find_run(dataset, run_id))
    probability = classifier.predict(model, vocabulary, " ".join(text))
    click.echo(f"{config.run_id}：正面的概率{probability:.1%}，判为{'正面' if probability > 0.5 else '负面'}。")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@options.dataset_option
@click.option("--run", "run_ids", multiple=True, help="运行名，可重复；默认与predict相同。")
def evaluate(folder, dataset, run_ids):
    """评估别处的影评：FOLDER里有pos与neg两个文件夹，每篇影评一个.txt文件。"""
    from lab import outside
    from lab.training import runs

    chosen = [runs.find_run(dataset, run_id) for run_id in run_ids or [None]]
    collection = outside.read(folder)
    click.echo(f"{folder}：{len(collection.labels):,}篇影评，其中正面{collection.labels.sum():,}篇。")
    for run in chosen:
        config, model, vocabulary = runs.load_run(run)
        for line in outside.judge(config.run_id, model, vocabulary, collection):
            click.echo(line)


@main.command()
@click.argument("run_id")
def ship(run_id):
    """（维护者）把训练好的RUN_ID缩小后放进report/model/，随项目分发。"""
    from lab import shipped
    from lab.training import runs

    facts = shipped.write(runs.find_run("aclImdb", run_id))
    click.echo(
        f"{facts['run_id']}：{facts['words']:,}个词，{facts['bytes'] / 1e6:.1f}MB；"
        f"测试准确率{facts['shipped_accuracy']:.2%}（缩小之前{facts['accuracy']:.2%}）。"
    )


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
