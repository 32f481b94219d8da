/* What the stages share: device, models, data and the micro-batches of a step. Opened from the settings, with
 * everything checked that can be before the first step. */
#ifndef MEMCLIP_TRAIN_SESSION_H
#define MEMCLIP_TRAIN_SESSION_H
#include "data/loader.h"
#include "data/source.h"
#include "data/tokenizer.h"
#include "device/arena.h"
#include "input/settings.h"
#include "io/store.h"
#include "model/model.h"
#include "train/ranks.h"
#include "train/run.h"

/* What a forward reads beside the images; NULL where it does not. */
struct micro_inputs {
  int64_t *step, *samples; /* one number; addresses [batch] */
  int32_t *ids, *end, *short_ids, *short_end, *keep;
};
/* Inputs of one forward on the device, and as the host uploads them. */
struct micro_batch {
  int count, tokens, short_tokens; /* samples; columns in use of long and short ids */
  void *images;
  struct micro_inputs on_device, on_host;
  struct arena block; /* of on_device */
  void *pinned;       /* of on_host */
  size_t bytes;
  uint64_t seed;
  bool has_dropout;
};

/* A rank's device memory (plan.h): what there was at the start, how many ranks share it, what takes how much. */
enum { MEMORY_PLAN_PARTS = 8 };
struct memory_plan {
  size_t free_bytes, total_bytes;
  int sharers; /* 0: nothing is known */
  struct {
    const char *what;
    size_t bytes;
  } parts[MEMORY_PLAN_PARTS];
  int count;
};

struct session {
  struct run *run;
  const struct settings *settings;
  struct device *device;
  enum dtype dtype;
  struct memory_plan plan;
  enum ranks_path ranks;         /* of training: how its numbers come together */
  struct model *model, *teacher; /* teacher: distill only */
  struct tokenizer *tokenizer;
  struct source *train, *val; /* val NULL when there is none */
  struct loader *loader;
  int batch; /* samples per micro-batch and rank */
  int64_t accumulation, global_batch, steps_per_epoch, total_steps, samples_per_epoch;
  struct micro_batch *micro;   /* [kept_micro + 1] */
  int64_t kept_micro;          /* so many of a step stay until its end */
  int64_t fetched, ahead;      /* numbers of the micro-batches in use and uploaded for the next fetch; -1: none */
  int kept_patches;            /* 0: no patch dropout */
  int64_t rows_without_sample; /* places of training batches for which 100 samples in a row were bad */
  bool recording;              /* between record and submit of the device */
  double *loss;                /* on the device, with room for the optimiser's squares behind it */
  int64_t shared_choices,
      saved_choices;   /* of matrix products: how many all ranks have, how many products.txt (choices.h) */
  bool choices_differ; /* a rank cannot take over those of rank 0 */
  const char *default_words[1];
};

/* All that open something are collective: one rank's failure is every rank's, with its message. */
enum status session_open_device(struct session *session);
/* Reads a model: configuration (built-in, JSON, or from the weights), activation, memory group when `with_memory`,
 * trainable marks `words`, weights or initial values. `training` gives gradients and moments. Used for the model and,
 * with the teacher's group, for the teacher. */
struct model_request {
  const char *config, *weights, *activation, *what; /* what: "model" or "teacher", for messages */
  bool with_memory, training;
  const char *const *words;
  int word_count;
};
enum status session_open_model(struct session *session, const struct model_request *request, struct model **model);
bool session_keeps_values_in_bf16(const struct settings *settings); /* memory.value_dtype */
/* model.train, or the stage's own word for 'default'. */
const char *const *session_trainable(struct session *session, const char *fallback);
int session_trainable_count(const struct session *session);
enum status session_open_tokenizer(struct session *session);
/* Does the vocabulary fit the model that is open? */
enum status session_check_tokenizer(const struct session *session);
enum status session_open_training_data(struct session *session, bool short_captions, bool tokens);
enum status session_open_validation_data(struct session *session);
/* The samples that a key of &data names; `weights` may be NULL. Collective. */
enum status session_open_source(const struct session *session, const struct text_list *paths,
                                const struct real_list *weights, const char *key, struct source **source);
int session_loader_threads(const struct settings *settings);
struct image_limits session_image_limits(const struct settings *settings);
/* How the evaluation makes its pictures. */
struct image_transform session_transform(const struct clip_config *config);
void session_close(struct session *session);

/* Buffers of the accumulation's micro-batches, made with the training data. */
void session_open_micro_batches(struct session *session, bool short_captions, bool tokens);
void session_close_micro_batches(struct session *session);
/* Zeros for all inputs: a first pass that leaves nothing behind. */
void session_blank_micro_batch(struct session *session, struct micro_batch *micro);
/* Micro-batch `a` of a step from the loader, for what is enqueued from now on; in order. With tokens, all of a step
 * stay as they are until its end, else one until the next. */
struct micro_batch *session_micro_batch(struct session *session, int64_t step, int64_t a); /* as fetched */
struct micro_batch *session_fetch(struct session *session, int64_t step, int64_t a, double *waited_seconds);
/* Uploads the next one beside what was enqueued, when the loader has it ready; nothing when `a` is the accumulation.
 * Not to be waited for, and nothing of it is counted before it is fetched: a run may stop in between. */
void session_fetch_ahead(struct session *session, int64_t step, int64_t a);
struct tower_input micro_batch_images(const struct micro_batch *micro);
struct tower_input micro_batch_texts(const struct micro_batch *micro, bool short_captions);
enum { TEXT_COLUMN_STEP = 8 };
/* Columns of ids needed so that every end fits, rounded up to a multiple of TEXT_COLUMN_STEP, at most context; the
 * whole context when cropping is off. */
int session_text_columns(const struct session *session, const int32_t *end, int count);
#endif
