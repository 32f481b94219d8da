/* The table of keys, in the order of the groups. Each row: name, unit or kind, default, range or choices, resume,
 * stages, help. */
#include "input/keys.h"
#include <math.h>

/* clang-format off */

/* The place of a member; does not compile unless the member has the C type that the kind of key asks for. */
#define OFFSET(group, name, type) offsetof(struct settings, group.name) + _Generic(((struct settings *)0)->group.name, type: 0)

#define ROW(group, name, type, c_type, ...) {#group, #name, type, OFFSET(group, name, c_type), __VA_ARGS__}
#define TEXT(group, name, fallback, choices, resume, stages, help) \
  ROW(group, name, KEY_TEXT, char *, "", fallback, 0, 0, choices, KEY_NO_PATH, RESUME_##resume, stages, help)
#define PATH(group, name, fallback, path, resume, stages, help) \
  ROW(group, name, KEY_TEXT, char *, "", fallback, 0, 0, NULL, KEY_##path, RESUME_##resume, stages, help)
#define TEXTS(group, name, fallback, choices, path, resume, stages, help) \
  ROW(group, name, KEY_TEXTS, struct text_list, "", fallback, 0, 0, choices, KEY_##path, RESUME_##resume, stages, help)
#define NUMBER(group, name, type, c_type, unit, fallback, minimum, maximum, resume, stages, help) \
  ROW(group, name, type, c_type, unit, fallback, minimum, maximum, NULL, KEY_NO_PATH, RESUME_##resume, stages, help)
#define INTEGER(group, name, ...) NUMBER(group, name, KEY_INTEGER, int64_t, __VA_ARGS__)
#define INTEGERS(group, name, ...) NUMBER(group, name, KEY_INTEGERS, struct integer_list, __VA_ARGS__)
#define REAL(group, name, ...) NUMBER(group, name, KEY_REAL, double, __VA_ARGS__)
#define REALS(group, name, ...) NUMBER(group, name, KEY_REALS, struct real_list, __VA_ARGS__)
#define LOGICAL(group, name, fallback, resume, stages, help) \
  ROW(group, name, KEY_LOGICAL, bool, "", fallback, 0, 0, NULL, KEY_NO_PATH, RESUME_##resume, stages, help)

#define ALL "all"
#define TRAINING "pretrain distill finetune"
#define CONTRASTIVE "pretrain finetune"
#define RETRIEVAL "eval"

const struct key_group key_group_table[] = {
  {"run", "What is done, where its results go, and on what it runs."},
  {"model", "The CLIP that is trained or evaluated."},
  {"teacher", "The frozen CLIP that distillation imitates; eval reads it for text='teacher'."},
  {"memory",
    "Product-key memories in place of the MLPs of some blocks. Without this group there are none; --set with one of its keys adds it."},
  {"data", "Images with captions, and how they are read, cut and ordered."},
  {"loss", "What training minimises."},
  {"optim", "AdamW and its learning-rate schedule."},
  {"validation", "When the held-out samples are looked at during training."},
  {"early_stop", "When training ends before its last epoch."},
  {"checkpoint", "When checkpoints are written and which are kept."},
  {"eval", "Cross-modal retrieval of finished models."},
  {"segment", "Zero-shot semantic segmentation with the patch tokens."},
  {"parity", "What other codes do differently, to reproduce their numbers; all off by default. memory.value_dtype='bf16' and "
    "optim.no_decay belong here too."},
  {"debug", "Switches for tests. Each of the first five turns off a saving that does not change the numbers."},
};
const size_t key_group_count = sizeof key_group_table / sizeof key_group_table[0];

const struct key key_table[] = {
  TEXT(run, stage, "", "pretrain|distill|finetune|eval|segment", FIXED, ALL,
    "What this run does: pretrain a CLIP contrastively from random weights, distill a memory student from a teacher, finetune "
    "contrastively on long and short captions, eval retrieval, or segment. Must be given."),
  PATH(run, directory, "", PATH, FREE, ALL,
    "Where the run's files go; made if absent. Starting the same input in it again resumes. Must be given."),
  INTEGER(run, seed, "", "0", 0, 9007199254740992.0, FIXED, ALL, "Seed of all random numbers: weights, order of samples, crops."),
  TEXT(run, device, "'auto'", "auto|cpu|cuda", WARN, ALL,
    "'auto' takes a GPU where there is one; the other device gives other last digits."),
  TEXT(run, precision, "'bf16'", "bf16|fp32", FIXED, ALL,
    "Type of activations and of the matrices in products. Sums, norms, losses, the optimiser and its master weights are fp32 in "
    "both."),
  INTEGER(run, threads, "", "0", 0, 4096, FREE, ALL,
    "Compute threads of a rank. 0 takes the cores that the rank may use, less the loader's share."),
  PATH(run, resume, "'auto'", NAME_OR_PATH, FREE, TRAINING,
    "'auto' goes on from the newest complete checkpoint in the directory, if there is one. A checkpoint's path in a new directory "
    "branches from that run."),
  TEXT(run, resume_reset, "''", NULL, FREE, TRAINING,
    "With a path in resume, what starts anew, separated by commas: data (from the first sample), schedule (from step 0), optimizer "
    "(moments at zero)."),
  REAL(run, time_limit_minutes, "minutes", "0", 0, INFINITY, FREE, TRAINING,
    "Write a checkpoint, then stop with exit status 75, before this time is over. 0 takes the end that Slurm gives the job, if any."),
  INTEGER(run, log_every, "steps", "10", 1, INFINITY, FREE, TRAINING,
    "Steps between two reports in log.txt, metrics.jsonl and TensorBoard."),

  PATH(model, config, "''", NAME_OR_PATH, FIXED, ALL,
    "Architecture: a built-in name such as 'ViT-B-16' or the path of an open_clip JSON, with or without model_cfg. Empty takes the "
    "one in weights."),
  PATH(model, weights, "''", PATH, FREE, ALL,
    "WEIGHTS.h5 (memclip-import makes it) or any checkpoint. For distill the default is the teacher's. Only memory tensors may be "
    "missing; MLPs that memories replace are dropped and listed. Empty starts from random weights, which only pretrain does."),
  TEXT(model, activation, "'auto'", "auto|gelu|quickgelu", FIXED, ALL,
    "Activation of the MLPs. 'auto' takes what the weights or the config say; it is never guessed, and another one than theirs is "
    "refused (see parity.foreign_activation). OpenAI's weights need quickgelu."),
  TEXTS(model, train, "'default'", NULL, NO_PATH, FIXED, TRAINING,
    "What is trained: default (memory for distill, else all), all, memory, text, vision, vision:last2 (the last two blocks, final "
    "norm and projection), or patterns of parameter names with * and ?."),
  LOGICAL(model, gradient_checkpointing, ".false.", FREE, TRAINING,
    "Keep only the input of each block and recompute the rest: less memory, about a third more time."),
  REAL(model, patch_dropout, "", "0", 0, 0.99, FIXED, TRAINING,
    "Share of the patch tokens left out of each training image (teacher and student see the same ones). 0 takes the config's, which "
    "is 0 in published models."),
  REALS(model, image_mean, "", "", -INFINITY, INFINITY, FIXED, ALL,
    "Three values (red, green, blue; 0 to 1) subtracted from pixels. Empty takes the weights' or CLIP's own."),
  REALS(model, image_std, "", "", 1e-6, INFINITY, FIXED, ALL,
    "Three values by which pixels are divided. Empty takes the weights' or CLIP's own."),
  TEXT(model, image_resize_mode, "'auto'", "auto|shortest|longest|squash", FIXED, ALL,
    "How the evaluation makes pictures of the model's size: the shorter side resized and the middle cut out, the longer side and the "
    "rest filled, or both sides. auto takes the configuration's, else shortest. Training crops are cut anyway."),
  TEXT(model, image_interpolation, "'auto'", "auto|bicubic|bilinear", FIXED, ALL,
    "Interpolation of the evaluation transform; auto takes the configuration's, else bicubic. Training crops are bicubic, as "
    "open_clip's."),

  PATH(teacher, config, "''", NAME_OR_PATH, FIXED, "distill eval", "As in &model; empty takes the one in the weights."),
  PATH(teacher, weights, "''", PATH, FREE, "distill eval", "The teacher's WEIGHTS.h5 or checkpoint. distill needs it."),
  TEXT(teacher, activation, "'auto'", "auto|gelu|quickgelu", FIXED, "distill eval",
    "As in &model. Teacher and student must have the same one."),
  PATH(teacher, cache, "''", PATH, FREE, "distill",
    "File that keeps the teacher's image features, so that later epochs and runs skip the teacher. Needs data.augment='none' or "
    "'crop_fixed'."),

  TEXT(memory, tower, "'vision'", "vision|text", FIXED, ALL, "The tower whose MLPs are replaced."),
  INTEGERS(memory, layers, "", "", 0, 127, FIXED, ALL, "Blocks with a memory, counted from 0. Must be given."),
  INTEGER(memory, n_keys, "", "8", 1, 32768, FIXED, ALL, "Sub-keys of each half; the table has n_keys squared slots."),
  INTEGER(memory, heads, "", "2", 1, 1024, FIXED, ALL, "Query heads, whose results are summed."),
  INTEGER(memory, knn, "", "4", 1, 256, FIXED, ALL, "Slots read by each head; at most n_keys."),
  INTEGER(memory, k_dim, "", "256", 2, 65536, FIXED, ALL, "Width of a query; even, each half meets one set of sub-keys."),
  INTEGER(memory, v_dim, "", "256", 0, 65536, FIXED, ALL, "Width of a value. 0 takes the tower's width and needs no output projection."),
  LOGICAL(memory, share_values, ".true.", FIXED, ALL, "One value table for all memory layers; keys and projections stay their own."),
  LOGICAL(memory, swilu_projection, ".true.", FIXED, ALL,
    "Multiply the value read by silu of a projection of the input before the output projection."),
  LOGICAL(memory, gated, ".false.", FIXED, ALL, "Multiply the output by a sigmoid gate, one number per token."),
  LOGICAL(memory, peer, ".false.", FIXED, ALL, "Slots are one-neuron experts (PEER) instead of values; needs v_dim=0 and has no projections."),
  LOGICAL(memory, query_batchnorm, ".false.", FIXED, ALL, "Batch normalisation of the queries; not available yet."),
  TEXT(memory, init, "'thesis'", "thesis|meta", FIXED, TRAINING,
    "Initial values: 'thesis' (keys N(0, 0.02^2), values N(0, 1)) or 'meta' (scaled by the widths)."),
  REAL(memory, value_lr, "", "0", 0, INFINITY, FIXED, TRAINING,
    "Peak learning rate of the value tables; 0 takes optim.lr. The schedule applies to it."),
  REAL(memory, value_clip_norm, "", "0", 0, INFINITY, FIXED, TRAINING,
    "Clip the value tables' gradient at this norm, apart from the others; 0 is off."),
  TEXT(memory, value_dtype, "'fp32'", "fp32|bf16", FIXED, TRAINING,
    "Type in which the optimiser keeps the value tables. bf16 has no fp32 master, as in the published code: most small steps are "
    "rounded away."),
  REAL(memory, input_dropout, "", "0", 0, 0.99, FIXED, TRAINING, "Dropout of the memory's input."),
  REAL(memory, query_dropout, "", "0", 0, 0.99, FIXED, TRAINING, "Dropout of the queries."),
  REAL(memory, value_dropout, "", "0", 0, 0.99, FIXED, TRAINING, "Dropout of the memory's output."),
  INTEGER(memory, shard_ranks, "", "1", 1, 65536, FREE, ALL,
    "Ranks that share one copy of a value table, each holding some of its columns; divides ranks and v_dim. "
    "More than 1 is not available yet."),

  TEXTS(data, train, "", NULL, PATH, FREE, "pretrain distill finetune eval",
    "Shards ('shards/{000000..000125}.tar', lists in braces, several patterns, 'a::b') or one csv file. Resuming checks that the "
    "content is the same. eval, if it is given, reports how many test images are among them."),
  REALS(data, weights, "", "", 0, INFINITY, FIXED, TRAINING,
    "With resampled, how often each pattern of train is drawn relative to the others; empty is once each."),
  TEXTS(data, val, "", NULL, PATH, FREE, "pretrain distill finetune eval",
    "Held-out samples, written as train. eval uses them when eval.datasets is empty."),
  INTEGER(data, batch_size, "samples", "20", 1, 1048576, FREE, TRAINING, "Micro-batch of a rank."),
  INTEGER(data, global_batch, "samples", "0", 0, INFINITY, FREE, TRAINING,
    "Samples of an optimiser step over all ranks. 0 is batch_size x accumulation x ranks at the first start; the checkpoint keeps "
    "it, and a restart on another number of ranks changes the accumulation instead, or is refused with the numbers that fit."),
  INTEGER(data, samples_per_epoch, "samples", "0", 0, INFINITY, FIXED, TRAINING, "Length of an epoch; 0 is the number of samples found."),
  TEXT(data, format, "'auto'", "auto|webdataset|csv", FIXED, "pretrain distill finetune eval",
    "'auto' goes by the name: .csv and .tsv are tables, all others tar shards."),
  TEXT(data, image, "'jpg;jpeg;png;webp'", NULL, FIXED, "pretrain distill finetune eval",
    "Suffixes of image members in a shard, the first present wins."),
  TEXT(data, caption, "'txt'", NULL, FIXED, "pretrain distill finetune eval",
    "Suffix of caption members, or json:KEY for a text inside a .json member; json:KEY;OTHER takes the first that is not empty."),
  REALS(data, caption_weights, "", "", 0, INFINITY, FIXED, TRAINING,
    "For training, how likely each of the keys behind json: is tried first, then second, anew for each sample and epoch; those of "
    "weight 0 last. Empty tries them as they stand."),
  TEXT(data, short_caption, "'first_sentence'", "none|first_sentence", FIXED, CONTRASTIVE,
    "The short caption: what stands before the first full stop of the caption, or none."),
  TEXT(data, csv_separator, "''", NULL, FIXED, "pretrain distill finetune eval", "Column separator of a csv file; empty is a tabulator."),
  TEXT(data, csv_image, "''", NULL, FIXED, "pretrain distill finetune eval", "Column with the image's path; empty is filepath."),
  TEXT(data, csv_caption, "''", NULL, FIXED, "pretrain distill finetune eval", "Column with the caption; empty is title."),
  PATH(data, vocabulary, "'clip'", NAME_OR_PATH, FIXED, ALL,
    "BPE vocabulary: 'clip' looks for CLIP's own in $MEMCLIP_DATA and in the installation, or the path of a file in its format "
    "(memclip-vocab makes them)."),
  INTEGER(data, context_length, "tokens", "77", 3, 65536, FIXED, ALL,
    "Text positions, start and end included; longer captions are cut. Fewer than the weights have is fine."),
  TEXT(data, augment, "'crop'", "crop|crop_fixed|none", FIXED, TRAINING,
    "Training images: a random crop, new in each epoch; crop_fixed, one random crop per sample; or none, the transform of "
    "evaluation."),
  REALS(data, crop_scale, "", "0.9, 1.0", 1e-6, 1, FIXED, TRAINING, "Smallest and largest share of the image's area that a crop takes."),
  REALS(data, crop_ratio, "", "0.75, 1.3333", 1e-3, 1e3, FIXED, TRAINING, "Smallest and largest width / height of a crop."),
  REALS(data, color_jitter, "", "", 0, 1e3, FIXED, TRAINING,
    "Changes of brightness, contrast, saturation and hue of training crops: factors within 1 -+ the value (of the hue, turns within "
    "-+ the value, at most 0.5), as torchvision's ColorJitter."),
  REAL(data, color_jitter_prob, "", "0", 0, 1, FIXED, TRAINING, "Share of the training crops whose colours change; needs color_jitter."),
  REAL(data, gray_scale_prob, "", "0", 0, 1, FIXED, TRAINING, "Share of the training crops that become gray."),
  TEXT(data, shuffle, "'global'", "global|window|none", FIXED, TRAINING,
    "Order of an epoch: a permutation of all samples, of shards and then of samples within a window of them (fewer random reads), "
    "or as they lie."),
  INTEGER(data, shuffle_window, "samples", "0", 0, INFINITY, FIXED, TRAINING, "Samples that a window of whole shards holds at least; 0 is 100,000."),
  LOGICAL(data, resampled, ".false.", FIXED, TRAINING, "Draw samples with replacement, by weights, instead of each once per epoch."),
  INTEGER(data, loader_threads, "", "0", 0, 1024, FREE, ALL,
    "Threads of a rank that read and decode; 0 chooses by cores and measured speed. Any number gives the same batches."),
  PATH(data, stage_to, "''", PATH, FREE, TRAINING,
    "Directory on the node's own disk to which the shards of data.train are copied first, once; empty reads them in place."),
  REAL(data, bad_sample_limit, "", "0.01", 0, 1, FREE, "pretrain distill finetune eval",
    "Bad samples are replaced, counted and named in bad_samples.jsonl; the run fails when more than two exceed this share of those "
    "read, or with 0 at the first."),
  LOGICAL(data, exif_orientation, ".false.", FIXED, ALL,
    "Turn images as their EXIF tag says. open_clip does not, so the default does not."),
  REAL(data, max_image_megapixels, "megapixels", "0", 0, 1e6, WARN, ALL,
    "Larger images are bad samples, before they are decoded; 0 is 179 megapixels, where Pillow refuses them."),

  TEXT(loss, distill, "'cosine'", "cosine|mse|l2", FIXED, "distill",
    "Distance of the student's image embeddings from the teacher's: 1 - cosine, mean squared error, or Euclidean distance."),
  REAL(loss, long_weight, "", "1.0", 0, INFINITY, FIXED, CONTRASTIVE, "Weight of the contrastive loss with whole captions."),
  REAL(loss, short_weight, "", "0.0", 0, INFINITY, FIXED, CONTRASTIVE,
    "Weight of the contrastive loss with short captions; 0 does not encode them."),

  REAL(optim, lr, "", "5e-4", 0, INFINITY, FIXED, TRAINING, "Peak learning rate."),
  REAL(optim, beta1, "", "0.9", 0, 0.999999, FIXED, TRAINING, "Decay of the first moment."),
  REAL(optim, beta2, "", "0.98", 0, 0.99999999, FIXED, TRAINING, "Decay of the second moment."),
  REAL(optim, eps, "", "1e-6", 1e-30, 1, FIXED, TRAINING, "Added to the root of the second moment."),
  REAL(optim, weight_decay, "", "0.1", 0, INFINITY, FIXED, TRAINING,
    "Decoupled weight decay; not for biases, norms, logit_scale and others of fewer than two axes."),
  TEXTS(optim, no_decay, "", NULL, NO_PATH, FIXED, TRAINING,
    "Patterns of parameter names, with * and ?, that are not decayed either. open_clip 4.x does not decay '*positional_embedding', "
    "open_clip 3.x and the thesis do, which is the default."),
  REAL(optim, vision_layer_decay, "", "1", 1e-6, 1, FIXED, TRAINING,
    "Factor of the learning rate for each step down from the image projection: the last block with the final norm has it once, the "
    "embeddings once more than the first block. 1 is off."),
  REAL(optim, text_layer_decay, "", "1", 1e-6, 1, FIXED, TRAINING, "The same down from the text projection."),
  TEXT(optim, schedule, "'cosine'", "cosine|const|const-cooldown", FIXED, TRAINING,
    "After warm-up: cosine to 0 at the last step, constant, or constant with a polynomial descent over cooldown_epochs."),
  INTEGER(optim, warmup_steps, "steps", "0", 0, INFINITY, FIXED, TRAINING,
    "Steps over which the learning rate rises linearly; must be fewer than the run has."),
  INTEGER(optim, cooldown_epochs, "epochs", "0", 0, INFINITY, FIXED, TRAINING, "Length of the descent of const-cooldown."),
  REAL(optim, cooldown_end, "", "0", 0, INFINITY, FIXED, TRAINING, "Learning rate at its end."),
  REAL(optim, cooldown_power, "", "1", 1e-3, 1e3, FIXED, TRAINING, "Power of the descent; 1 is a line."),
  INTEGER(optim, epochs, "epochs", "10", 1, INFINITY, WARN, TRAINING, "Length of the run; another number on resume changes the cosine."),
  INTEGER(optim, max_steps, "steps", "0", 0, INFINITY, WARN, TRAINING,
    "The run and its schedule end at this step if epochs would go on; 0 is no limit."),
  INTEGER(optim, accumulation, "", "1", 1, 1048576, FREE, TRAINING,
    "Micro-batches per optimiser step and rank. The contrastive loss sees all of them as one batch."),
  REAL(optim, clip_norm, "", "0", 0, INFINITY, FIXED, TRAINING,
    "Scale the gradient down to this norm over all trained parameters; 0 is off."),

  INTEGER(validation, every_epochs, "epochs", "1", 0, INFINITY, FREE, TRAINING,
    "Validate after so many epochs; 0 never by epochs. The end of the run always validates."),
  INTEGER(validation, every_steps, "steps", "0", 0, INFINITY, FREE, TRAINING, "Validate after so many steps too; 0 never by steps."),

  TEXT(early_stop, metric, "'auto'", NULL, WARN, TRAINING,
    "What must improve, and what best.h5 is chosen by: 'auto' is val/similarity_mean for distill, else val/R@1_mean; any name in "
    "metrics.jsonl that begins with val/."),
  TEXT(early_stop, mode, "'max'", "max|min", WARN, TRAINING, "Whether larger or smaller is better."),
  INTEGER(early_stop, patience, "validations", "0", 0, INFINITY, WARN, TRAINING,
    "Stop after so many validations in a row without improvement; 0 is off."),
  REAL(early_stop, min_delta, "", "0", 0, INFINITY, WARN, TRAINING, "What counts as improvement: better than the best by more than this."),

  INTEGER(checkpoint, every_steps, "steps", "0", 0, INFINITY, FREE, TRAINING, "Write after so many steps; 0 never by steps."),
  INTEGER(checkpoint, every_epochs, "epochs", "1", 0, INFINITY, FREE, TRAINING,
    "Write after so many epochs; 0 never by epochs. The end of the run always writes."),
  REAL(checkpoint, every_minutes, "minutes", "30", 0, INFINITY, FREE, TRAINING,
    "Write after so much time since the last; 0 never by time."),
  INTEGER(checkpoint, keep, "files", "3", 1, INFINITY, FREE, TRAINING,
    "Newest checkpoints kept. best.h5 and archived ones are never pruned."),
  INTEGERS(checkpoint, archive_epochs, "epochs", "", 0, INFINITY, FREE, TRAINING,
    "Numbers of epochs after which the checkpoint is kept for good."),

  TEXTS(eval, datasets, "", "coco|flickr30k|iiw|docci|urban1k|dci|sharegpt4v-1k|sharegpt4v-10k|val|val-short|val-lines|csv", NO_PATH, FREE, RETRIEVAL,
    "Data sets, evaluated in this order; empty evaluates data.val. val, val-short and val-lines take whole captions, first sentences "
    "or each line of the captions in data.val; csv takes data.val's rows, those of one path being captions of one image."),
  PATH(eval, root, "''", PATH, FREE, RETRIEVAL,
    "Folder of the data set when one is named, else the folder whose subfolders are called as the data sets."),
  PATH(eval, coco_root, "''", PATH, FREE, RETRIEVAL, "Folder with annotations/captions_val2017.json and images/val2017; wins over root."),
  PATH(eval, flickr30k_root, "''", PATH, FREE, RETRIEVAL,
    "Folder with flickr30k_val.json, beside or over the folder flickr30k-images, or the annotation file itself (flickr30k_test.json, "
    "dataset_flickr30k.json, results.csv); wins over root."),
  PATH(eval, iiw_root, "''", PATH, FREE, RETRIEVAL, "Folder with test_annotations.json, docci, docci_aar and dci; wins over root."),
  PATH(eval, docci_root, "''", PATH, FREE, RETRIEVAL, "Folder with annotations/test_annotations.json and images; wins over root."),
  PATH(eval, urban1k_root, "''", PATH, FREE, RETRIEVAL, "Folder with annotations/annotations.json and images; wins over root."),
  PATH(eval, dci_root, "''", PATH, FREE, RETRIEVAL, "Folder with densely_captioned_images; wins over root."),
  PATH(eval, sharegpt4v_root, "''", PATH, FREE, RETRIEVAL, "Folder with share4v_sam_10k.json and its images; wins over root."),
  TEXT(eval, protocol, "'flair'", "flair|tulip", WARN, RETRIEVAL,
    "Whose choice of captions and files: FLAIR's (all captions, as the thesis) or TULIP's (five per COCO image, ...)."),
  TEXTS(eval, checkpoints, "", NULL, PATH, FREE, RETRIEVAL,
    "Weights or checkpoints to evaluate, one after the other; empty is model.weights."),
  TEXTS(eval, labels, "", NULL, NO_PATH, FREE, RETRIEVAL,
    "A name for each checkpoint, for file names and tables; empty is the run's or the file's own name, 'model' for model.weights."),
  TEXTS(eval, text, "'own'", "own|teacher", NO_PATH, WARN, RETRIEVAL,
    "Whose text tower encodes the captions: the evaluated model's, the teacher's (then '-teacher-text' follows the label), or both."),
  INTEGER(eval, batch_size, "samples", "64", 1, 1048576, FREE, "eval segment", "Images or texts encoded at once by a rank."),
  LOGICAL(eval, save_features, ".true.", FREE, RETRIEVAL,
    "Write features/DATASET.LABEL.h5 for memclip-metrics, memclip-compare and memclip-report."),
  LOGICAL(eval, save_npy, ".false.", FREE, RETRIEVAL,
    "Write the features as clip-retrieval lays them out too: npy/DATASET.LABEL/img_emb/img_emb_0.npy, text_emb/text_emb_0.npy."),
  LOGICAL(eval, memory_usage, ".false.", FREE, RETRIEVAL,
    "Count which memory slots images read, into usage/DATASET.LABEL.h5 for memclip-usage."),

  TEXT(segment, dataset, "'voc20'", "voc20|voc21|context59|context60|coco_object|coco_stuff10k|coco_stuff164k|ade20k|cityscapes",
    FIXED, "segment",
    "The data set; it brings scale, thresholds and the handling of background."),
  PATH(segment, root, "''", PATH, FREE, "segment", "Folder of the data set."),
  PATH(segment, classes, "''", PATH, FIXED, "segment", "Text file with a class per line, synonyms separated by a comma and a blank."),
  PATH(segment, templates, "''", PATH, FIXED, "segment",
    "Text file with a prompt per line in which {} stands for the class name; empty is 'a photo of a {}.' alone."),

  LOGICAL(parity, undivided_accumulation, ".false.", FIXED, TRAINING,
    "Reproduces the thesis, which adds the gradients of accumulated micro-batches without dividing by their number (distill), "
    "and open_clip, whose logit_scale gets its gradient once per micro-batch (pretrain, finetune)."),
  LOGICAL(parity, foreign_activation, ".false.", FIXED, ALL,
    "Lets model.activation and teacher.activation contradict what the weights or the config say. Reproduces the thesis, which ran "
    "OpenAI's quickgelu weights with activation='gelu'."),

  LOGICAL(debug, pooled_last_block, ".true.", FREE, ALL, "The last block computes only the pooled token."),
  LOGICAL(debug, crop_text, ".true.", FREE, ALL, "Cut text batches behind their longest caption."),
  LOGICAL(debug, share_prefix, ".true.", FREE, "distill", "Teacher and student compute their equal frozen beginning once."),
  LOGICAL(debug, skip_frozen, ".true.", FREE, TRAINING, "No gradients below the first trained block and none of frozen weights."),
  LOGICAL(debug, overlap, ".true.", FREE, TRAINING, "Reduce gradients over ranks while the backward pass still runs."),
  LOGICAL(debug, graphs, ".true.", FREE, TRAINING, "A GPU records the passes of a step once and repeats them by itself (CUDA graphs)."),
  LOGICAL(debug, poison, ".false.", FREE, ALL, "Fill fresh and released memory with NaN, to find reads of what was never written."),
};
const size_t key_table_count = sizeof key_table / sizeof key_table[0];
