#include "data/order.h"
#include "base/random.h"

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

int64_t order_sample(const struct order *order, int64_t epoch, int64_t position) {
  struct random_key key = {.seed = order->seed, .index = (uint64_t)epoch, .use = RANDOM_SOURCE};
  if (order->resampled)
    return draw(order, &key, (uint64_t)position);
  int64_t per_epoch = order->samples_per_epoch > 0 ? order->samples_per_epoch : order->count;
  int64_t global = epoch * per_epoch + position, pass = global / order->count, within = global % order->count;
  if (order->shuffle == SHUFFLE_NONE)
    return within;
  if (order->shuffle == SHUFFLE_WINDOW)
    return shuffle_windows(order, pass, within);
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
