#include "data/order.h"
#include "base/memory.h"
#include "base/random.h"
#include <pthread.h>

/* One of all samples, by the weight of its path; a path counts with weight x samples. Counters 2c and 2c + 1 of the
 * key. */
static int64_t draw(const struct order *order, const struct random_key *key, uint64_t counter) {
  double total = 0;
  if (!order->path_weights)
    return (int64_t)random_below(key, 2 * counter, (uint64_t)order->count);
  for (int i = 0; i < order->paths; i++)
    total += order->path_weights[i] * (double)(order->path_bounds[i + 1] - order->path_bounds[i]);
  double left = random_uniform(key, 2 * counter) * total;
  int chosen = -1;
  for (int i = 0; i < order->paths && (chosen < 0 || left >= 0); i++) {
    int64_t samples = order->path_bounds[i + 1] - order->path_bounds[i];
    if (samples == 0 || !(order->path_weights[i] > 0))
      continue;
    chosen = i;
    left -= order->path_weights[i] * (double)samples;
  }
  if (chosen < 0)
    return (int64_t)random_below(key, 2 * counter, (uint64_t)order->count);
  int64_t first = order->path_bounds[chosen], samples = order->path_bounds[chosen + 1] - first;
  return first + (int64_t)random_below(key, 2 * counter + 1, (uint64_t)samples);
}

/* Windows in random order, samples in random order within each. The last window may be shorter; it comes at a random
 * place among the full ones, which a permutation of their own puts around it, so no inverse is needed. */
static int64_t shuffle_windows(const struct order *order, int64_t pass, int64_t within) {
  int64_t window = order->window > 0 && order->window < order->count ? order->window : order->count;
  int64_t full = order->count / window, rest = order->count % window;
  struct random_key key = {.seed = order->seed, .index = (uint64_t)pass, .use = RANDOM_ORDER, .layer = 1};
  int64_t place_of_rest = rest > 0 ? (int64_t)random_below(&key, UINT64_MAX, (uint64_t)full + 1) : full;
  int64_t chosen, offset, size = window;
  if (within < place_of_rest * window) {
    chosen = within / window;
    offset = within % window;
  } else if (within < place_of_rest * window + rest) {
    chosen = full;
    offset = within - place_of_rest * window;
    size = rest;
  } else {
    chosen = (within - rest) / window;
    offset = (within - rest) % window;
  }
  if (chosen < full)
    chosen = (int64_t)random_permute(&key, (uint64_t)chosen, (uint64_t)full);
  key.layer = 2 + (uint32_t)chosen;
  return chosen * window + (int64_t)random_permute(&key, (uint64_t)offset, (uint64_t)size);
}

enum { PASSES_KEPT = 2 }; /* threads may be at the end of one pass and at the start of the next */

struct pass {
  int64_t number; /* -1: none */
  int *shard;     /* [shards] in the order of the pass */
  int64_t *end;   /* [shards] samples up to and with each */
  int *last;      /* [shards] for each window, its last place in that order */
  int windows;
};
struct order_windows {
  pthread_mutex_t lock;
  struct pass passes[PASSES_KEPT];
};

struct order_windows *order_windows_new(const struct order *order) {
  if (order->shuffle != SHUFFLE_WINDOW || order->resampled || !order->shard_bounds)
    return NULL;
  struct order_windows *windows = memory_allocate(sizeof *windows, "windows");
  const size_t shards = (size_t)order->shards;
  pthread_mutex_init(&windows->lock, NULL);
  for (int i = 0; i < PASSES_KEPT; i++)
    windows->passes[i] = (struct pass){.number = -1,
                                       .shard = memory_allocate(shards * sizeof(int), "windows"),
                                       .end = memory_allocate(shards * sizeof(int64_t), "windows"),
                                       .last = memory_allocate(shards * sizeof(int), "windows")};
  return windows;
}

void order_windows_release(struct order_windows *windows) {
  if (!windows)
    return;
  for (int i = 0; i < PASSES_KEPT; i++) {
    memory_release(windows->passes[i].shard);
    memory_release(windows->passes[i].end);
    memory_release(windows->passes[i].last);
  }
  pthread_mutex_destroy(&windows->lock);
  memory_release(windows);
}

/* Shards in random order; a window closes with the shard that fills it. */
static void plan_pass(const struct order *order, const struct random_key *key, int64_t number, struct pass *pass) {
  int64_t end = 0, start = 0;
  *pass = (struct pass){.number = number, .shard = pass->shard, .end = pass->end, .last = pass->last};
  for (int i = 0; i < order->shards; i++) {
    const int shard = (int)random_permute(key, (uint64_t)i, (uint64_t)order->shards);
    end += order->shard_bounds[shard + 1] - order->shard_bounds[shard];
    pass->shard[i] = shard;
    pass->end[i] = end;
    if (end - start < order->window && i + 1 < order->shards)
      continue;
    pass->last[pass->windows++] = i;
    start = end;
  }
}

/* The first of `count` places whose end lies beyond `position`; ends[last[i]] where `last` is given. */
static int find_place(const int64_t *ends, const int *last, int count, int64_t position) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (ends[last ? last[middle] : middle] <= position)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static int64_t start_of(const int64_t *ends, int place) {
  return place > 0 ? ends[place - 1] : 0;
}

/* Windows of whole shards: shards in random order, samples in random order within the window that holds them. */
static int64_t shuffle_shards(const struct order *order, int64_t number, int64_t within) {
  struct order_windows *windows = order->windows;
  struct pass *pass = &windows->passes[number % PASSES_KEPT];
  struct random_key key = {.seed = order->seed, .index = (uint64_t)number, .use = RANDOM_ORDER, .layer = 1};
  pthread_mutex_lock(&windows->lock);
  if (pass->number != number)
    plan_pass(order, &key, number, pass);
  const int window = find_place(pass->end, pass->last, pass->windows, within);
  const int64_t start = window > 0 ? pass->end[pass->last[window - 1]] : 0, end = pass->end[pass->last[window]];
  key.layer = 2 + (uint32_t)window;
  const int64_t position = start + (int64_t)random_permute(&key, (uint64_t)(within - start), (uint64_t)(end - start));
  const int place = find_place(pass->end, NULL, order->shards, position);
  const int64_t sample = order->shard_bounds[pass->shard[place]] + position - start_of(pass->end, place);
  pthread_mutex_unlock(&windows->lock);
  return sample;
}

int64_t order_sample(const struct order *order, int64_t epoch, int64_t position) {
  struct random_key key = {.seed = order->seed, .index = (uint64_t)epoch, .use = RANDOM_SOURCE};
  if (order->resampled)
    return draw(order, &key, (uint64_t)position);
  int64_t per_epoch = order->samples_per_epoch > 0 ? order->samples_per_epoch : order->count;
  int64_t global = epoch * per_epoch + position, pass = global / order->count, within = global % order->count;
  if (order->shuffle == SHUFFLE_NONE)
    return within;
  if (order->shuffle == SHUFFLE_WINDOW)
    return order->windows ? shuffle_shards(order, pass, within) : shuffle_windows(order, pass, within);
  key = (struct random_key){.seed = order->seed, .index = (uint64_t)pass, .use = RANDOM_ORDER};
  return (int64_t)random_permute(&key, (uint64_t)within, (uint64_t)order->count);
}

int64_t order_replacement(const struct order *order, int64_t epoch, int64_t position, int attempt) {
  struct random_key key = {
      .seed = order->seed, .index = (uint64_t)epoch, .use = RANDOM_REPLACEMENT, .layer = (uint32_t)attempt};
  if (order->resampled)
    return draw(order, &key, (uint64_t)position);
  return (int64_t)random_below(&key, 2 * (uint64_t)position, (uint64_t)order->count);
}
