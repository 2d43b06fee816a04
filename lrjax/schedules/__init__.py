"""Learning-rate schedules: pure functions of the step, exact over the whole int32 range.

A schedule is a schedule of anything: the same functions drive momentum, weight decay or a loss weight, and any
function of the step is a schedule, of optax's or your own.

Coming from elsewhere
=====================

The expressions below reproduce other libraries to float64 rounding; the test suite reads them from here, runs them
and compares. ``lr`` is the rival's own (peak) rate, ``W``, ``N`` and ``D`` are its steps of warmup, of the whole run
and of the final decay; every other name is the rival's own argument, and ``jnp`` is ``jax.numpy``. What differs:

- *Where it ends.* Update k is made at ``schedule(k)``, k = 0 … N-1, everywhere. A schedule of N steps is at its end
  value from step N on, so that no update is made there; the same in optax, Transformers, timm, Keras, Megatron,
  torchtitan and nanochat. ``OneCycleLR``, MaxText and ``cosine_warmup_with_min_lr`` make their last update at the end
  value: their rows say ``N - 1``.
- *Where it begins.* A warmup rises from ``init_value`` at step 0 to the peak at step W. A warmup of (step + 1) / W,
  which makes no update at rate 0, is ``warmup_steps=W - 1, init_value=lr / W``.
- *What N counts.* ``total_steps`` includes the warmup, like optax's ``decay_steps``. Keras's ``decay_steps`` and
  timm's ``t_initial`` with ``warmup_prefix`` do not.
- *After the end.* Rates are held. Torch's and Transformers' cosines rise again, timm's and Keras's do not.
- *Whole steps.* Boundaries are whole steps: where a fraction of the run is given, round as your library does. The
  peak of :func:`one_cycle` alone is not rounded.
- *Epochs.* Where a library steps once an epoch, wrap: ``per_epoch(schedule, steps_per_epoch, staircase=True)``.

Plateaus (``ReduceLROnPlateau``, timm's ``plateau``, ``greedy``) read the loss and so are no schedules; they belong
to the optimizer and come in a later release.

**PyTorch**, ``torch.optim.lr_scheduler``. ``MultiplicativeLR`` by a constant is ``ExponentialLR``; ``SequentialLR`` is
:func:`join` and ``ChainedScheduler`` a product, with rows as examples; ``pct_start * total_steps`` must exceed 1. ::

    LambdaLR                    lambda step: lr * lr_lambda(step)
    ConstantLR                  join([constant(factor * lr), constant(lr)], [total_iters])
    LinearLR                    linear(start_factor * lr, end_factor * lr, total_iters)
    StepLR                      step_decay(lr, step_size, decay_rate=gamma)
    MultiStepLR                 multistep(lr, milestones, decay_rate=gamma)
    ExponentialLR               exponential(lr, decay_rate=gamma, steps=1)
    PolynomialLR                polynomial(lr, 0, total_iters, power=power)
    CosineAnnealingLR           cosine(lr, T_max, end_value=eta_min)
    CosineAnnealingLR, rising   interpolate([0, T_max, 2 * T_max, 3 * T_max], [lr, eta_min, lr, eta_min],
                                            shape="cosine")
    CosineAnnealingWarmRestarts
                                cosine_restarts(lr, T_0, cycle_factor=T_mult, end_value=eta_min)
    CyclicLR                    cyclic(base_lr, max_lr, step_size_up, down_steps=step_size_down, mode=mode,
                                       decay_rate=gamma)
    CyclicLR, momentum          cyclic(max_momentum, base_momentum, step_size_up, down_steps=step_size_down,
                                       mode=mode, decay_rate=gamma)
    OneCycleLR                  one_cycle(max_lr, total_steps - 1, div_factor=div_factor,
                                          final_div_factor=final_div_factor, three_phase=three_phase,
                                          peak_fraction=(pct_start * total_steps - 1) / (total_steps - 1))
    OneCycleLR, linear          one_cycle(max_lr, total_steps - 1, anneal="linear", div_factor=div_factor,
                                          final_div_factor=final_div_factor, three_phase=three_phase,
                                          peak_fraction=(pct_start * total_steps - 1) / (total_steps - 1))
    OneCycleLR, momentum        one_cycle_momentum(total_steps - 1, max_value=max_momentum, base_value=base_momentum,
                                                   three_phase=three_phase,
                                                   peak_fraction=(pct_start * total_steps - 1) / (total_steps - 1))
    SequentialLR                join([linear(start_factor * lr, lr, total_iters), cosine(lr, T_max)], milestones)
    ChainedScheduler            lambda step: (join([constant(factor), constant(1)], [total_iters])(step)
                                              * exponential(lr, decay_rate=gamma, steps=1)(step))

**Transformers**, ``get_scheduler``. ``num_warmup_steps`` is W and ``num_training_steps`` N. ::

    constant                    constant(lr)
    constant_with_warmup        linear(0, lr, W)
    linear                      warmup_linear(lr, N, warmup_steps=W)
    cosine                      warmup_cosine(lr, N, warmup_steps=W)
    cosine, num_cycles          wsd(lr, N, warmup_steps=W, decay_steps=N - W,
                                    decay=lambda q: jnp.cos(jnp.pi * num_cycles * q) ** 2)
    cosine_with_restarts        join([with_warmup(cosine_restarts(lr, (N - W) / num_cycles), W), constant(0)], [N])
    polynomial                  with_warmup(polynomial(lr, lr_end, N - W, power=power), W)
    inverse_sqrt                inverse_sqrt(lr, warmup_steps=W, timescale=timescale)
    cosine_with_min_lr          warmup_cosine(lr, N, warmup_steps=W, end_value=min_lr)
    cosine_warmup_with_min_lr   warmup_cosine(lr, N - 1, warmup_steps=W - 1, init_value=lr / W, end_value=min_lr)
    cosine_warmup_with_min_lr, warmup_lr_rate
                                warmup_cosine(lr, N - 1, warmup_steps=W - 1, init_value=warmup_lr_rate * lr,
                                              end_value=min_lr)
    warmup_stable_decay         wsd(lr, N, warmup_steps=W, decay_steps=D, decay=decay_type,
                                    init_value=min_lr_ratio * lr, end_value=min_lr_ratio * lr)
    warmup_stable_decay, cosine warmup
                                join([interpolate([0, W], [min_lr_ratio * lr, lr], shape="cosine"),
                                      wsd(lr, N - W, warmup_steps=0, decay_steps=D, decay=decay_type,
                                          end_value=min_lr_ratio * lr)], [W])
    warmup_stable_decay, 1-sqrt warmup
                                join([interpolate([0, W], [min_lr_ratio * lr, lr], shape=lambda q: jnp.sqrt(1 - q)),
                                      wsd(lr, N - W, warmup_steps=0, decay_steps=D, decay=decay_type,
                                          end_value=min_lr_ratio * lr)], [W])

**timm**, ``create_scheduler_v2``. Milestone m cuts at step m - 1. Without ``warmup_prefix``, the default of cosine,
poly and tanh, the warmup takes the place of the curve's first steps and the rate drops at its end. ::

    cosine, warmup_prefix       with_warmup(cosine(lr, t_initial, end_value=lr_min), warmup_t,
                                            init_value=warmup_lr_init)
    cosine                      lambda step: jnp.where(step < warmup_t, linear(warmup_lr_init, lr, warmup_t)(step),
                                                       cosine(lr, t_initial, end_value=lr_min)(step))
    cosine, cycles              join([cosine_restarts(lr, t_initial, cycle_factor=cycle_mul, peak_factor=cycle_decay,
                                                      end_value=lr_min), constant(lr_min)],
                                     [t_initial * sum(cycle_mul**i for i in range(cycle_limit))])
    cosine, k_decay             interpolate([0, t_initial], [lr, lr_min],
                                            shape=lambda q: jnp.cos(jnp.pi / 2 * q**k_decay) ** 2)
    poly                        polynomial(lr, lr_min, t_initial, power=power)
    poly, k_decay               interpolate([0, t_initial], [lr, lr_min], shape=lambda q: (1 - q**k_decay) ** power)
    tanh                        interpolate([0, t_initial], [lr, lr_min],
                                            shape=lambda q: (1 - jnp.tanh(lb + (ub - lb) * q)) / 2)
    step                        with_warmup(step_decay(lr, decay_t, decay_rate=decay_rate), warmup_t,
                                            init_value=warmup_lr_init)
    multistep                   with_warmup(multistep(lr, [m - 1 for m in decay_t], decay_rate=decay_rate), warmup_t,
                                            init_value=warmup_lr_init)
    wsd                         wsd(lr, warmup_t + t_initial, warmup_steps=warmup_t, decay_steps=decay_t,
                                    decay=decay_fn, init_value=warmup_lr_init, end_value=lr_min)
    wsd, power                  wsd(lr, warmup_t + t_initial, warmup_steps=warmup_t, decay_steps=decay_t,
                                    decay=lambda q: 1 - q**decay_power, init_value=warmup_lr_init, end_value=lr_min)
    wsd, exp                    wsd(lr, warmup_t + t_initial, warmup_steps=warmup_t, decay_steps=decay_t,
                                    decay=lambda q: (decay_ratio**q - decay_ratio) / (1 - decay_ratio),
                                    init_value=warmup_lr_init, end_value=lr_min)
    wsd, rsqrt                  lambda step: (inverse_sqrt(lr, warmup_steps=warmup_t)(step)
                                              * wsd(1, warmup_t + t_initial, warmup_steps=0, decay_steps=decay_t)(step))

**Keras**, ``keras.optimizers.schedules``; ``lr`` is ``initial_learning_rate``. A boundary keeps the old value. ::

    ExponentialDecay            exponential(lr, decay_rate=decay_rate, steps=decay_steps, staircase=staircase)
    InverseTimeDecay            inverse_time(lr, decay_rate=decay_rate, steps=decay_steps, staircase=staircase)
    PolynomialDecay             polynomial(lr, end_learning_rate, decay_steps, power=power)
    PolynomialDecay, cycle      lambda step: end_learning_rate + (lr - end_learning_rate) * (
                                    1 - step / (decay_steps * jnp.maximum(jnp.ceil(step / decay_steps), 1))) ** power
    PiecewiseConstantDecay      join([constant(value) for value in values], [b + 1 for b in boundaries])
    CosineDecay                 cosine(lr, decay_steps, end_value=alpha * lr)
    CosineDecay, warmup         warmup_cosine(warmup_target, warmup_steps + decay_steps, warmup_steps=warmup_steps,
                                              init_value=lr, end_value=alpha * warmup_target)
    CosineDecayRestarts         lambda step: alpha * lr + cosine_restarts(
                                    (1 - alpha) * lr, first_decay_steps, cycle_factor=t_mul, peak_factor=m_mul)(step)

**optax**. Its ``decay_steps`` is ``total_steps`` here. In the piecewise rows ``values`` are the running products of
``init_value`` and the scales. ::

    constant_schedule           constant(value)
    linear_schedule             join([constant(init_value), linear(init_value, end_value, transition_steps)],
                                     [transition_begin])
    polynomial_schedule         join([constant(init_value), polynomial(init_value, end_value, transition_steps,
                                                                       power=power)], [transition_begin])
    exponential_decay           join([constant(init_value), exponential(init_value, decay_rate=decay_rate,
                                                                        steps=transition_steps, staircase=staircase,
                                                                        end_value=end_value)], [transition_begin])
    cosine_decay_schedule       cosine(init_value, decay_steps, end_value=alpha * init_value)
    cosine_decay_schedule, exponent
                                interpolate([0, decay_steps], [init_value, alpha * init_value],
                                            shape=lambda q: jnp.cos(jnp.pi / 2 * q) ** (2 * exponent))
    piecewise_constant_schedule
                                join([constant(value) for value in values], boundaries)
    piecewise_interpolate_schedule
                                interpolate([0, *boundaries], values, shape=interpolate_type)
    linear_onecycle_schedule    interpolate([0, int(pct_start * N), int(pct_final * N), N],
                                            [lr / div_factor, lr, lr / div_factor, lr / div_factor / final_div_factor])
    cosine_onecycle_schedule    interpolate([0, int(pct_start * N), N], shape="cosine",
                                            values=[lr / div_factor, lr, lr / div_factor / final_div_factor])
    warmup_constant_schedule    linear(init_value, peak_value, warmup_steps)
    warmup_cosine_decay_schedule
                                warmup_cosine(peak_value, decay_steps, warmup_steps=warmup_steps,
                                              init_value=init_value, end_value=end_value)
    warmup_exponential_decay_schedule
                                with_warmup(exponential(peak_value, decay_rate=decay_rate, steps=transition_steps,
                                                        end_value=end_value), warmup_steps, init_value=init_value)
    sgdr_schedule               join([warmup_cosine(kwargs["peak_value"], kwargs["decay_steps"],
                                                    warmup_steps=kwargs["warmup_steps"],
                                                    init_value=kwargs["init_value"]) for kwargs in cosine_kwargs],
                                     [sum(kwargs["decay_steps"] for kwargs in cosine_kwargs[:i])
                                      for i in range(1, len(cosine_kwargs))])

**Megatron**, ``--lr-decay-style``; ``lr`` is ``max_lr``. It counts samples: divide its steps by the batch size.
``decay`` is "linear", "cosine" or "1-sqrt" (``minus_sqrt``). ::

    constant                    linear(init_lr, lr, W)
    linear                      warmup_linear(lr, N, warmup_steps=W, init_value=init_lr, end_value=min_lr)
    cosine                      warmup_cosine(lr, N, warmup_steps=W, init_value=init_lr, end_value=min_lr)
    inverse-square-root         join([with_warmup(clamp(inverse_sqrt(lr, warmup_steps=0, timescale=W), min_lr, lr), W,
                                                  init_value=init_lr), constant(min_lr)], [N + 1])
    WSD                         wsd(lr, N, warmup_steps=W, decay_steps=D, decay=decay,
                                    init_value=init_lr, end_value=min_lr)
    WSD, exponential            wsd(lr, N, warmup_steps=W, decay_steps=D, decay=lambda q: 2 * 0.5**q - 1,
                                    init_value=init_lr, end_value=min_lr)
    weight decay, linear        linear(start_wd, end_wd, wd_incr_steps)
    weight decay, cosine        interpolate([0, wd_incr_steps], [start_wd, end_wd], shape="cosine")

**torchtitan**, ``lr_scheduler``; D is ``round(decay_ratio * N)``, or N - W without it; ``decay`` is "linear",
"1-sqrt" (``sqrt``) or "cosine". ::

    decay_type                  wsd(lr, N, warmup_steps=W - 1, decay_steps=D, decay=decay,
                                    init_value=lr / W, end_value=min_lr_factor * lr)

**MaxText**, ``lr_schedule_type``; N is ``learning_rate_schedule_steps``. The peak is held for two updates, the rate
is 0 from N on. ::

    cosine                      join([linear(0, lr, W - 1), cosine(lr, N - W - 1, end_value=final_fraction * lr),
                                      constant(0)], [W, N])
    wsd                         join([linear(0, lr, W - 1),
                                      wsd(lr, N - W - 1, warmup_steps=0, decay_steps=D - 1, decay=wsd_decay_style,
                                          end_value=final_fraction * lr), constant(0)], [W, N])

**nanochat**, ``base_train.py``; D is ``round(warmdown_ratio * N)``. ::

    learning rate               wsd(lr, N, warmup_steps=W - 1, decay_steps=D, decay="linear",
                                    init_value=lr / W, end_value=final_lr_frac * lr)
    Muon momentum               interpolate([0, 400, N - D, N], [0.85, 0.97, 0.97, 0.90])

**lingua**, ``lingua/optim.py``; r is ``lr_min_ratio``, D is ``decay_fraction * N``. The cooldown of its WSD-S is
that of a run of N steps broken off after D, so that it ends above the floor; the second cycle's is twice as long. ::

    linear                      warmup_linear(lr, N, warmup_steps=W, end_value=r * lr)
    cosine                      warmup_cosine(lr, N, warmup_steps=W, end_value=r * lr)
    cosine, cosine_theta        wsd(lr, N, warmup_steps=W, decay_steps=N - W, end_value=r * lr,
                                    decay=lambda q: jnp.cos(jnp.pi / 2 * q**cosine_theta) ** 2)
    inv_sqrt                    with_warmup(clamp(inverse_sqrt(lr, warmup_steps=0, timescale=W), r * lr, lr), W)
    wsd                         wsd(lr, N, warmup_steps=W, decay_steps=D, decay="inverse",
                                    end_value=lr / (D / N / r + 1 - D / N))
    wsd, two cycles             join([wsd(lr, N // 2, warmup_steps=W, decay_steps=D // 2, decay="inverse",
                                          end_value=lr / (D / N / r + 1 - D / N)),
                                      wsd(lr, N // 2, warmup_steps=0, decay_steps=D, decay="inverse",
                                          end_value=lr / (D / N / r + 1 - D / N))], [N // 2])

**EPFL**, ``schedules-and-scaling``; D is ``int(fract_decay * N)``; ``decay`` is "linear", "1-sqrt" (``sqrt``),
"cosine", "mirror_cosine" (``miror_cosine``), "square" or "exponential" (``exp``). ::

    cos_inf                     infinite(lr, lr / div_factor / final_div_factor, warmup_steps=W,
                                         cosine_steps=N - n_inf - W, init_value=lr / div_factor)
    wsd                         wsd(lr, N, warmup_steps=W, decay_steps=D, decay=decay,
                                    init_value=lr / init_div_factor, end_value=final_lr_factor * lr)

**Levanter**, ``lr_schedule``; ``cycles`` is 2. After the warmup its ``inv`` is at step 1 twice. ::

    linear                      warmup_linear(lr, N, warmup_steps=W, end_value=min_lr)
    cosine                      warmup_cosine(lr, N, warmup_steps=W, end_value=min_lr)
    cosine, cycles              join([warmup_cosine(lr, N // 2, warmup_steps=W, end_value=min_lr),
                                      warmup_cosine(lr, N // 2, warmup_steps=rewarmup, init_value=min_lr,
                                                    end_value=min_lr)], [N // 2])
    inv_sqrt                    join([linear(0, lr, W),
                                      clamp(inverse_sqrt(lr, warmup_steps=timescale - W, timescale=timescale,
                                                         init_value=lr), min_lr, lr)], [W])
    inv                         join([linear(0, lr, W),
                                      clamp(interpolate([0, N - W], [lr, min_lr], shape="inverse"), min_lr,
                                            lr / (1 + (lr / min_lr - 1) / (N - W)))], [W])
    power                       join([linear(0, lr, W),
                                      power(N, batch_size=batch_size, sequence_length=seq_length, warmup_steps=0,
                                            decay_steps=0, a=a, b=b, max_value=lr)], [W])

**fastai**, ``Learner.fit_*``. ::

    fit_one_cycle               one_cycle(lr, N, peak_fraction=pct_start, div_factor=div,
                                          final_div_factor=div_final / div)
    fit_one_cycle, momentum     one_cycle_momentum(N, max_value=0.95, base_value=0.85, peak_fraction=pct_start)
    fit_flat_cos                wsd(lr, N, warmup_steps=0, decay_steps=N - round(pct_start * N), decay="cosine",
                                    end_value=lr / div_final)
    fit_sgdr                    cosine_restarts(lr, cycle_len, cycle_factor=cycle_mult)

**pytorch-scheduler**, with n = (N - W) / ``upper_bound``. ::

    RexScheduler                interpolate([0, N], [lr, 0], shape=lambda q: (1 - q) / (1 - q / 2))
    HyperbolicLRScheduler       wsd(lr, N, warmup_steps=W, decay_steps=N - W, init_value=min_lr,
                                    end_value=lr - (lr - min_lr) * (n * (2 - n)) ** 0.5,
                                    decay=lambda q: jnp.sqrt((1 - q) * (2 - n * (1 + q)) / (2 - n)))
    KDecayScheduler             interpolate([0, N], [lr, min_lr], shape=lambda q: jnp.cos(jnp.pi / 2 * q**k) ** 2)
    SlantedTriangularScheduler  slanted_triangular(lr, N, cut_fraction=int(cut_frac * N) / N, ratio=ratio)

**Papers**. ::

    Attention Is All You Need   inverse_sqrt((d_model * W) ** -0.5, warmup_steps=W - 1, timescale=W,
                                             init_value=(d_model * W) ** -0.5 / W)
"""

from lrjax.schedules.basic import constant, cosine, linear, polynomial
from lrjax.schedules.compose import clamp, join, scale_by
from lrjax.schedules.cyclic import cyclic
from lrjax.schedules.ends import with_cooldown, with_warmup
from lrjax.schedules.exponential import exponential, multistep, step_decay
from lrjax.schedules.infinite import infinite
from lrjax.schedules.interpolate import interpolate
from lrjax.schedules.inverse import inverse_sqrt, inverse_time
from lrjax.schedules.one_cycle import one_cycle, one_cycle_momentum, slanted_triangular
from lrjax.schedules.power import power
from lrjax.schedules.restarts import cosine_restarts
from lrjax.schedules.units import in_units, per_epoch
from lrjax.schedules.warmup import warmup_cosine, warmup_linear
from lrjax.schedules.wsd import wsd, wsd_cycles

__all__ = [
    "clamp",
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclic",
    "exponential",
    "in_units",
    "infinite",
    "interpolate",
    "inverse_sqrt",
    "inverse_time",
    "join",
    "linear",
    "multistep",
    "one_cycle",
    "one_cycle_momentum",
    "per_epoch",
    "polynomial",
    "power",
    "scale_by",
    "slanted_triangular",
    "step_decay",
    "warmup_cosine",
    "warmup_linear",
    "with_cooldown",
    "with_warmup",
    "wsd",
    "wsd_cycles",
]
