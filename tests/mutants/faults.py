"""Faults that the tests must notice: each is one wrong line, and names the test that must then fail.

`right` is text of the file, as short as it can be to survive edits around it; every occurrence is replaced by `wrong`.
Where the code was rewritten, write the fault into the new code; where a test was renamed, name the new one. A new
mechanism that results depend on gets a fault here.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault: what is wrong, in which file, the text and its wrong replacement, and the test that must fail."""

    name: str
    file: str
    right: str
    wrong: str
    test: str  # of pytest, below tests/


WRITTEN_OUT = "models/test_written_out.py"
PRETRAINING = "models/test_pretraining_by_hand.py"
TRAINING = "forensics/test_training_by_hand.py"

FAULTS = (
    # --- cameras: from the sensor to patches ---
    Fault(
        "Menon weighs the centre of the neighbourhood like its rim",
        "cameras/demosaic.py",
        "(0, -2, 3), (0, 0, 3)",
        "(0, -2, 1), (0, 0, 1)",
        "cameras/test_demosaic.py::test_equals_colour_demosaicing",
    ),
    Fault(
        "Menon's low-pass filter weighs the pixel as much as both neighbours",
        "cameras/demosaic.py",
        "(signal[site] + 2 * neighbours) / 3",
        "(signal[site] + neighbours) / 2",
        "cameras/test_demosaic.py::test_equals_colour_demosaicing",
    ),
    Fault(
        "the mirror of demosaicing repeats the border",
        "cameras/demosaic.py",
        "min(1 - parity, size - 1)",
        "min(parity, size - 1)",
        "cameras/test_demosaic.py",
    ),
    Fault(
        "the gamma of the standard pipeline is 2.4",
        "cameras/develop.py",
        "GAMMA = 2.2",
        "GAMMA = 2.4",
        "cameras/test_develop.py::test_one_colour",
    ),
    Fault(
        "target patches begin one pixel away from their Bayer patches",
        "cameras/patches.py",
        "+ scale * places.x",
        "+ scale * places.x + scale - 1",
        "cameras/test_patches.py::test_bayer_and_target_are_of_the_same_place",
    ),
    Fault(
        "rows and columns of a patch's place are swapped",
        "cameras/patches.py",
        "corner // columns, corner % columns",
        "corner % columns, corner // columns",
        "cameras/test_patches.py::test_every_corner_can_be_drawn_the_last_one_too",
    ),
    Fault(
        "the variance filter rejects half as much",
        "cameras/patches.py",
        "FLAT, TEXTURED = 0.01, 0.02",
        "FLAT, TEXTURED = 0.005, 0.01",
        "cameras/test_patches.py::test_fixed_places_follow_position_then_filter",
    ),
    Fault(
        "the split depends on the order of import",
        "cameras/pairs/reading.py",
        "key=names.__getitem__",
        "key=lambda i: i",
        "cameras/test_pairs.py::test_split_divides_images_whatever_their_order",
    ),
    Fault(
        "simulated sensors have a PRNU of half the strength",
        "cameras/simulate.py",
        "np.clip(1 + K,",
        "np.clip(1 + K / 2,",
        "cameras/test_simulate.py::test_averaged_flat_fields_reveal_the_prnu_pattern",
    ),
    # --- models: the pipelines and their pre-training ---
    Fault(
        "UNet with slope 0.01",
        "models/unet.py",
        ", 0.2, inplace=True)",
        ", 0.01, inplace=True)",
        f"{WRITTEN_OUT}::test_unet",
    ),
    Fault(
        "UNet with average pooling",
        "models/unet.py",
        "F.max_pool2d(",
        "F.avg_pool2d(",
        f"{WRITTEN_OUT}::test_unet",
    ),
    Fault(
        "UNet with repeated borders",
        "models/unet.py",
        "3, padding=1)",
        '3, padding=1, padding_mode="replicate")',
        f"{WRITTEN_OUT}::test_unet",
    ),
    Fault(
        "DNet without its last ReLU",
        "models/dnet.py",
        "c17 = F.relu(",
        "c17 = (lambda x, inplace: x)(",
        f"{WRITTEN_OUT}::test_dnet",
    ),
    Fault(
        "DNet with zero padding",
        "models/dnet.py",
        "nn.ReflectionPad2d(",
        "nn.ZeroPad2d(",
        f"{WRITTEN_OUT}::test_dnet",
    ),
    Fault(
        "DNet with zero padding before its last layer",
        "models/dnet.py",
        'mode="reflect"',
        'mode="constant"',
        f"{WRITTEN_OUT}::test_dnet",
    ),
    Fault(
        "INet with repeated borders, which have another phase of the CFA",
        "models/inet.py",
        'mode="reflect"',
        'mode="replicate"',
        f"{WRITTEN_OUT}::test_inet",
    ),
    Fault(
        "ClassicISP with repeated borders",
        "models/classic.py",
        'mode="reflect"',
        'mode="replicate"',
        f"{WRITTEN_OUT}::test_classic_isp",
    ),
    Fault(
        "clipped pixels have no gradient",
        "models/nip.py",
        "return _Clip.apply(y.to(torch.promote_types(y.dtype, torch.float32)))",
        "return y.to(torch.promote_types(y.dtype, torch.float32)).clamp(0, 1)",
        "models/test_nips.py::test_clip_passes_the_gradient_straight_through",
    ),
    Fault(
        "the constants of SSIM are wrong",
        "models/fidelity.py",
        "(0.03 * data_range)",
        "(0.02 * data_range)",
        "models/test_fidelity.py",
    ),
    Fault(
        "pre-training on the validation images",
        "models/pretrain.py",
        "batches(photographs, train_images,",
        "batches(photographs, validation_images,",
        PRETRAINING,
    ),
    Fault(
        "pre-training keeps the last weights, not the best",
        "models/pretrain.py",
        'if metrics["loss_nip"] <',
        'if True or metrics["loss_nip"] <',
        PRETRAINING,
    ),
    Fault(
        "pre-training with frozen statistics",
        "models/pretrain.py",
        "freeze_statistics(False)",
        "freeze_statistics(True)",
        f"{PRETRAINING}::test_weights_are_those_of_a_training_by_hand",
    ),
    Fault(
        "pre-training with twice the learning rate",
        "models/pretrain.py",
        "lr=settings.learning_rate",
        "lr=2 * settings.learning_rate",
        PRETRAINING,
    ),
    Fault(
        "pre-training without variance filter",
        "models/pretrain.py",
        "generator, settings.textured",
        "generator, False",
        PRETRAINING,
    ),
    Fault(
        "pre-training stops too early",
        "models/pretrain.py",
        "< tolerance * before",
        "< 2 * tolerance * before",
        "models/test_pretrain.py::test_the_stopping_rule",
    ),
    # --- channel: manipulations and distribution ---
    Fault(
        "sharpening is weaker than eq. 4",
        "channel/manipulations/sharpen.py",
        "6 * strength",
        "5 * strength",
        "channel/test_manipulations.py::test_against_the_oracle",
    ),
    Fault(
        "resampling aligns corners",
        "channel/manipulations/resample.py",
        "align_corners=False",
        "align_corners=True",
        "channel/test_manipulations.py::test_against_the_oracle",
    ),
    Fault(
        "the native class comes last",
        "channel/manipulations/__init__.py",
        "torch.cat([images, *manipulated])",
        "torch.cat([*manipulated, images])",
        "channel/test_manipulations.py::test_classes_come_one_after_the_other",
    ),
    Fault(
        "down-sampling takes every second pixel instead of means",
        "channel/distribution.py",
        "average(images, self.downsample)",
        "images[..., :: self.downsample, :: self.downsample]",
        "channel/test_distribution.py::test_the_channel_averages_and_then_compresses",
    ),
    Fault(
        "blurring repeats the border pixel",
        "channel/filters.py",
        'mode="reflect"',
        'mode="replicate"',
        "channel/test_filters.py",
    ),
    Fault(
        "dJPEG's level shift is 127",
        "channel/codecs/jpeg.py",
        "LEVEL_SHIFT = 128 / 255",
        "LEVEL_SHIFT = 127 / 255",
        "channel/test_jpeg.py::test_round_is_libjpeg_and_the_others_come_close",
    ),
    Fault(
        "quantization tables are rounded down",
        "channel/codecs/jpeg.py",
        "* scale + 50) // 100",
        "* scale) // 100",
        "channel/test_jpeg.py::test_tables_are_libjpegs",
    ),
    Fault(
        "the sine of eq. 3 has twice the amplitude",
        "channel/quantization.py",
        "alpha=1 / (2 * math.pi)",
        "alpha=1 / math.pi",
        "channel/test_quantization.py::test_sin_is_equation_3",
    ),
    # --- forensics: the joint training, its validation and evaluation ---
    Fault(
        "joint training with λ/10",
        "forensics/training.py",
        "float(trial.lam) *",
        "float(trial.lam) / 10 *",
        TRAINING,
    ),
    Fault(
        "a learning rate that never falls",
        "forensics/training.py",
        "training.learning_rate_at(step)",
        "training.learning_rate_at(0)",
        TRAINING,
    ),
    Fault(
        "a learning rate that falls one iteration early",
        "forensics/trial.py",
        "(step // self.decay_every)",
        "((step + 1) // self.decay_every)",
        TRAINING,
    ),
    Fault(
        "joint training on the validation images",
        "forensics/training.py",
        "batches(photographs, train_images,",
        "batches(photographs, validation_images,",
        TRAINING,
    ),
    Fault(
        "the seed of a trial has no effect",
        "forensics/training.py",
        "manual_seed(trial.seed)",
        "manual_seed(0)",
        TRAINING,
    ),
    Fault(
        "the channel of a trial is the paper's, whatever its settings say",
        "forensics/training.py",
        "trial.channel.build()",
        "type(trial.channel)().build()",
        TRAINING,
    ),
    Fault(
        "the variance filter of the training patches is not switched on",
        "forensics/training.py",
        "generator, training.textured",
        "generator, False",
        TRAINING,
    ),
    Fault(
        "a trial changes the pre-trained NIP that it was given",
        "forensics/training.py",
        "copy.deepcopy(nip).eval()",
        "nip.eval()",
        "forensics/test_training.py::test_fixed_leaves_the_nip_alone_and_nothing_changes_the_given_one",
    ),
    Fault(
        "the labels are image-major",
        "forensics/joint.py",
        ".repeat_interleave(total // classes)",
        ".repeat(total // classes)",
        "forensics/test_joint.py::test_labels_are_class_major",
    ),
    Fault(
        "the residual filter of the FAN pads with zeros",
        "forensics/fan.py",
        'mode="replicate"',
        'mode="constant"',
        "forensics/test_fan.py::test_residual_is_constrained_whatever_is_learnt",
    ),
    Fault(
        "the FAN with average pooling",
        "forensics/fan.py",
        "F.max_pool2d(",
        "F.avg_pool2d(",
        "forensics/test_fan.py::test_features_are_the_layers_of_the_table",
    ),
    Fault(
        "a validation set without variance filter",
        "forensics/validation.py",
        "generator, settings.textured,",
        "generator, False,",
        "forensics/test_validation_set.py",
    ),
    Fault(
        "the confusion matrix is transposed",
        "forensics/validation.py",
        ".sum(dim=1).double()",
        ".sum(dim=1).double().T",
        "forensics/test_training.py::test_validation_is_a_plain_count",
    ),
    Fault(
        "photographs are truncated to 8 bits before a real encoder",
        "forensics/evaluation.py",
        "(255 * photographs.float()).round()",
        "(255 * photographs.float()).floor()",
        "forensics/test_evaluation.py::test_stored_twice_with_eight_bits",
    ),
    # --- prnu: fingerprints ---
    Fault(
        "one tap of the wavelet is wrong",
        "prnu/denoise.py",
        "0.0328830116668852",
        "0.0338830116668852",
        "prnu/test_denoise.py::test_filters_are_daubechies_to_the_last_digit",
    ),
    Fault(
        "the Wiener filter leaves out the largest window",
        "prnu/denoise.py",
        "for window in WINDOWS:",
        "for window in WINDOWS[:-1]:",
        "prnu/test_denoise.py::test_equals_the_slow_reference",
    ),
    Fault(
        "columns keep their mean",
        "prnu/residual.py",
        "phase - phase.mean(dim=-2, keepdim=True)",
        "phase",
        "prnu/test_residual.py::test_zero_mean_equals_the_slow_reference",
    ),
    Fault(
        "saturated pixels count",
        "prnu/fingerprint.py",
        "image.masked_fill(saturation(image), 0)",
        "image",
        "prnu/test_fingerprint.py::test_what_is_saturated_in_every_image_has_no_pattern",
    ),
    Fault(
        "the PCE's neighbourhood is 9×9",
        "prnu/match.py",
        "NEIGHBOURHOOD = 11",
        "NEIGHBOURHOOD = 9",
        "prnu/test_match.py::test_pce_counts_all_but_the_circular_neighbourhood",
    ),
    Fault(
        "the PCE has no sign",
        "prnu/match.py",
        "height * height.abs()",
        "height * height",
        "prnu/test_match.py::test_pce_counts_all_but_the_circular_neighbourhood",
    ),
    Fault(
        "the p-value forgets how many positions were searched",
        "prnu/match.py",
        "+ math.log(positions)",
        "",
        "prnu/test_match.py::test_pvalue_in_logarithms",
    ),
    Fault(
        "F1 is precision",
        "prnu/localise.py",
        "2 * hits / (positive + flagged)",
        "hits / flagged",
        "prnu/test_localise.py::test_f1_of_every_threshold",
    ),
    # --- results: what is read off a study ---
    Fault(
        "of equal points of a front one is lost",
        "study/results/fronts.py",
        "maximise=True, keep_weakly=True",
        "maximise=True, keep_weakly=False",
        "study/results/test_fronts.py::test_front_equals_brute_force",
    ),
    Fault(
        "a hypervolume counts fidelity and accuracy the other way round",
        "study/results/fronts.py",
        "moocore.hypervolume(points,",
        "moocore.hypervolume(points[:, ::-1],",
        "study/results/test_fronts.py::test_hypervolume_equals_the_number_of_dominated_cells",
    ),
    Fault(
        "a front promises its last value beyond its end",
        "study/results/fronts.py",
        ", right=math.nan)",
        ")",
        "study/results/test_fronts.py::test_what_a_front_offers_lies_between_its_settings",
    ),
    Fault(
        "trials that failed or are running count",
        "study/results/runs_table.py",
        '(table["status"] == "FINISHED") & (table["failure"] == "")',
        '(table["status"] != "")',
        "study/results/test_fronts.py::test_groups_and_failures_stay_apart",
    ),
    Fault(
        "confusion matrices are those of the first seed",
        "study/results/artifacts.py",
        "matrices.mean(axis=0)",
        "matrices[0]",
        "study/results/test_artifacts.py::test_confusions_are_means_over_seeds",
    ),
)
