"""What practitioners start from: a rate for every optimizer and for every kind of training."""

from __future__ import annotations

from typing import NamedTuple

from lrjax import _checks
from lrjax.optimizers._table import Table, described, shown, shown_range, wrapped


class OptimizerDefaults(NamedTuple):
    """Where to start with an optimizer. Prints as a few lines.

    Attributes:
        name: The preset; ``sgd_momentum`` is ``sgd`` with ``momentum=0.9``.
        learning_rate: The preset's default.
        low: Lower end of the usual range.
        high: Upper end of the usual range.
        weight_decay: The preset's default; None where it has no weight decay.
        scaling: How the rate grows with the batch, a ``rule`` of ``scale_learning_rate``; None without a rule.
        note: What else to know.
        source: Papers and official code.
    """

    name: str
    learning_rate: float
    low: float
    high: float
    weight_decay: float | None
    scaling: str | None
    note: str
    source: str

    @property
    def cells(self) -> dict[str, str]:
        """The row in columns."""
        return {
            "optimizer": self.name,
            "rate": shown(self.learning_rate),
            "range": shown_range(self.low, self.high),
            "decay": shown(self.weight_decay),
            "batch": self.scaling or "-",
        }

    @property
    def lines(self) -> list[str]:
        """The row's sentences, in lines."""
        return wrapped(self.note, f"Source: {self.source}")

    def __str__(self) -> str:
        """The row as text."""
        return described(self)


class ScenarioDefaults(NamedTuple):
    """Where to start with a kind of training, by an optimizer of Adam's kind unless said. Prints as a few lines.

    Attributes:
        name: The kind of training.
        learning_rate: A rate to start from; None where only the advice is general.
        low: Lower end of the usual range.
        high: Upper end of the usual range.
        plan: Optimizer and schedule in words.
        recipes: What ``recipe`` builds of it, by name.
        note: What else to know.
        source: Papers and official code.
    """

    name: str
    learning_rate: float | None
    low: float | None
    high: float | None
    plan: str
    recipes: tuple[str, ...]
    note: str
    source: str

    @property
    def cells(self) -> dict[str, str]:
        """The row in columns."""
        rate, usual = shown(self.learning_rate), shown_range(self.low, self.high)
        return {"scenario": self.name, "rate": rate, "range": usual}

    @property
    def lines(self) -> list[str]:
        """The row's sentences, in lines."""
        calls = [f'recipe("{name}", total_steps)' for name in self.recipes]
        return [*wrapped(self.plan, self.note), *calls, *wrapped(f"Source: {self.source}")]

    def __str__(self) -> str:
        """The row as text."""
        return described(self)


OPTIMIZER_DEFAULTS: Table[OptimizerDefaults] = Table(
    OptimizerDefaults(*row)
    for row in [
        (
            *("sgd", 0.01, 0.01, 0.1, 0.0, "linear"),
            "0.1 for ResNets and the like; 10 to 100 times Adam's rate. Linear to a batch of 8192, then sqrt.",
            "Goyal et al., arXiv:1706.02677; Keras SGD",
        ),
        (
            *("sgd_momentum", 0.01, 0.001, 0.1, 0.0, "linear"),
            "sgd(momentum=0.9) steps 1 / (1 - momentum), ten times, as far. Linear to a batch of 8192, then sqrt.",
            "Goyal et al., arXiv:1706.02677; Sutskever et al. (2013)",
        ),
        (
            *("adam", 1e-3, 1e-4, 1e-3, None, "sqrt"),
            "A tenth of SGD's rate or less.",
            "Kingma and Ba, arXiv:1412.6980; batches: Malladi et al., arXiv:2205.10287",
        ),
        (
            *("adamw", 1e-3, 1e-4, 1e-3, 0.01, "sqrt"),
            "For transformers, with a weight decay of 0.01 to 0.1.",
            "Loshchilov and Hutter, arXiv:1711.05101; torch.optim.AdamW; batches: Malladi et al., arXiv:2205.10287",
        ),
        (
            *("rmsprop", 1e-3, 1e-3, 1e-2, 0.0, "sqrt"),
            "Keras starts from 0.001, PyTorch from 0.01.",
            "Hinton, lecture 6e (2012); Keras RMSprop; torch.optim.RMSprop; batches: Malladi et al., arXiv:2205.10287",
        ),
        (
            *("lion", 1e-4, 1e-5, 3e-4, 0.1, "sqrt"),
            "AdamW's rate divided by 3 to 10, its decay times as much: lion_from_adamw. Gains most from large batches.",
            "Chen et al., arXiv:2302.06675; batches: Li et al., arXiv:2405.14578, who group it with Adam",
        ),
        (
            *("lamb", 1e-3, 6.25e-4, 5e-3, 0.01, "sqrt"),
            "For very large batches: 6.25e-4 at 512 to 5e-3 at 32768 sequences on BERT.",
            "You et al., arXiv:1904.00962",
        ),
        (
            *("schedule_free_adamw", 0.0025, 1e-3, 1e-2, 0.0, "sqrt"),
            "1 to 10 times AdamW's rate and a warmup; for runs of unknown length. See evaluation_params.",
            "Defazio et al., arXiv:2405.15682; github.com/facebookresearch/schedule_free",
        ),
        (
            *("dadapt_adamw", 1.0, 1.0, 1.0, 0.0, None),
            "Multiplies the rate that it estimates: leave it at 1 and keep the usual schedule.",
            "Defazio and Mishchenko, arXiv:2301.07733; github.com/facebookresearch/dadaptation",
        ),
        (
            *("prodigy", 1.0, 1.0, 1.0, 0.0, None),
            "Multiplies the rate that it estimates: leave it at 1, with a cosine. Warmup: safeguard_warmup=True.",
            "Mishchenko and Defazio, arXiv:2306.06101; github.com/konstmish/prodigy",
        ),
        (
            *("muon", 1e-3, 1e-4, 1e-3, 0.01, None),
            "AdamW's rates and decays while consistent_rms=0.2; about 0.02 with consistent_rms=None.",
            "Jordan et al., kellerjordan.github.io/posts/muon (2024); Liu et al., arXiv:2502.16982",
        ),
    ]
)
"""Where to start with every preset."""


SCENARIOS: Table[ScenarioDefaults] = Table(
    ScenarioDefaults(*row)
    for row in [
        (
            *("llm-pretraining", 3e-4, 1e-4, 3e-4),
            "AdamW, weight decay 0.1, b2 0.95; warmup of 5 to 10% of the run, cosine to a tenth, or WSD; clip at 1.0.",
            ("llm-pretraining", "llm-pretraining-wsd"),
            "The larger the model, the lower: 3e-4 at 7 and 13 billion parameters, 1.5e-4 at 33 and 65.",
            "LLaMA, arXiv:2302.13971; WSD: MiniCPM, arXiv:2404.06395, and Hägele et al., arXiv:2405.18392",
        ),
        (
            *("llm-finetuning", 2e-5, 1e-5, 5e-5),
            "AdamW; warmup and cosine, or one cycle.",
            ("llm-finetuning",),
            "10 to 100 times below the rate of training from scratch.",
            "Stanford Alpaca and Vicuna (2e-5, 3% warmup); BERT, arXiv:1810.04805 (2e-5 to 5e-5)",
        ),
        (
            *("lora", 2e-4, 1e-4, 3e-4),
            "AdamW on the adapters alone; warmup and cosine.",
            ("lora",),
            "About 10 times the rate of full fine-tuning; 1e-4 above 13 billion parameters.",
            "Hu et al., arXiv:2106.09685; QLoRA, arXiv:2305.14314",
        ),
        (
            *("transformer", 1e-4, 1e-4, 5e-4),
            "AdamW; warmup is mandatory, at least 100 steps, 1 to 5% of them, 10000 in the classics; then a decay.",
            (),
            "BERT: 1e-4, GPT: 2.5e-4.",
            "Vaswani et al., arXiv:1706.03762; BERT, arXiv:1810.04805; Radford et al. (2018)",
        ),
        (
            *("vit", 1e-3, 5e-4, 1e-3),
            "AdamW, weight decay 0.05, b1 0.9, b2 0.999; 5 of 300 epochs warmup, cosine to 1e-6.",
            ("vit",),
            "At a batch of 1024; 5e-4 at 512.",
            "DeiT, arXiv:2012.12877; floor of 1e-6: BEiT, arXiv:2106.08254",
        ),
        (
            *("cnn", 1e-3, 1e-4, 3e-3),
            "Adam; or SGD at 0.01 to 0.1, see resnet.",
            (),
            "From scratch.",
            "Kingma and Ba, arXiv:1412.6980; He et al., arXiv:1512.03385",
        ),
        (
            *("resnet", 0.1, 0.01, 0.1),
            "SGD, momentum 0.9, weight decay 1e-4; a tenth every 30 epochs of 90: at 30 and 60.",
            ("resnet",),
            "At a batch of 256; linear in the batch, with a warmup of 5 epochs where it is large.",
            "He et al., arXiv:1512.03385; torchvision references/classification; Goyal et al., arXiv:1706.02677",
        ),
        (
            *("cnn-finetuning", 1e-4, 1e-5, 1e-4),
            "AdamW; or apart: backbone 1e-5, new head 1e-3.",
            ("cnn-finetuning",),
            "The head starts from noise, the backbone does not.",
            "Howard and Ruder, arXiv:1801.06146 (rates by layer); DETR, arXiv:2005.12872 (1e-4, backbone 1e-5)",
        ),
        (
            *("rnn", 1e-3, 1e-3, 1e-2),
            "Adam; clip at 1.0.",
            ("rnn",),
            "Clipping is essential: gradients through time explode.",
            "Pascanu et al., arXiv:1211.5063; Kingma and Ba, arXiv:1412.6980",
        ),
        (
            *("very-deep", None, None, None),
            "A smaller rate and a longer warmup than a shallow network's.",
            (),
            "100 layers and more; ResNet-110 warmed up at a tenth of its rate.",
            "He et al., arXiv:1512.03385; Gilmer et al., arXiv:2110.04369",
        ),
        (
            *("gan", 2e-4, 1e-4, 2e-4),
            "Adam, b1 0.5: generator 2e-4, discriminator 4e-4, about twice; cosine to 1e-6; clip at 1.0.",
            ("gan",),
            "Each player has its own optimizer, schedule and range test.",
            "DCGAN, arXiv:1511.06434 (2e-4); TTUR, arXiv:1706.08500 (1e-4, 3e-4); SAGAN, arXiv:1805.08318 (1e-4, 4e-4)",
        ),
        (
            *("diffusion", 1e-4, 2e-5, 2e-4),
            "AdamW; warmup and cosine, or constant; clip at 1.0.",
            ("diffusion",),
            "Sample from a moving average of the parameters, decay 0.9999. Larger images want the smaller rates.",
            "DDPM, arXiv:2006.11239; DiT, arXiv:2212.09748; diffusers examples/unconditional_image_generation",
        ),
        (
            *("small", 1e-3, 1e-3, 1e-2),
            "Adam or AdamW; warmup of 1 to 2% of the steps.",
            (),
            "Small models bear larger rates.",
            "Wortsman et al., arXiv:2309.14322",
        ),
    ]
)
"""Where to start with every kind of training."""


def optimizer_defaults(name: str) -> OptimizerDefaults:
    """Where to start with an optimizer: the preset's own rate, its usual range, its decay, its batch rule.

    ``optimizer_defaults(name) = OPTIMIZER_DEFAULTS[name]``; ``print(OPTIMIZER_DEFAULTS)`` shows all of them.

    Args:
        name: A preset, such as ``"adamw"``, or ``"sgd_momentum"``.

    Returns:
        An ``OptimizerDefaults``, rates and decays per step.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: There is no such optimizer.

    Example:
        >>> from lrjax.optimizers import optimizer_defaults
        >>> print(optimizer_defaults("lamb"))
        lamb: rate 0.001, range 0.000625 to 0.005, decay 0.01, batch sqrt
          For very large batches: 6.25e-4 at 512 to 5e-3 at 32768
          sequences on BERT.
          Source: You et al., arXiv:1904.00962

    Source:
        Named in each row.
    """
    return OPTIMIZER_DEFAULTS[_checks.choice("optimizer_defaults", "name", name, OPTIMIZER_DEFAULTS)]


def scenario_defaults(name: str) -> ScenarioDefaults:
    """Where to start with a kind of training: a rate, its usual range, and the rest in words.

    ``scenario_defaults(name) = SCENARIOS[name]``; ``print(SCENARIOS)`` shows all of them, and ``recipe`` builds
    those that name a recipe.

    Args:
        name: A kind of training, such as ``"vit"``.

    Returns:
        A ``ScenarioDefaults``, rates per step.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: There is no such scenario.

    Example:
        >>> from lrjax.optimizers import scenario_defaults
        >>> print(scenario_defaults("rnn"))
        rnn: rate 0.001, range 0.001 to 0.01
          Adam; clip at 1.0.
          Clipping is essential: gradients through time explode.
          recipe("rnn", total_steps)
          Source: Pascanu et al., arXiv:1211.5063; Kingma and Ba,
          arXiv:1412.6980

    Source:
        Named in each row.
    """
    return SCENARIOS[_checks.choice("scenario_defaults", "name", name, SCENARIOS)]
