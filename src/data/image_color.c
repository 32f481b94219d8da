/* Colours of a picture changed as torchvision's ColorJitter and Grayscale change them through Pillow, to the bit. */
#include "base/memory.h"
#include "data/image.h"
#include <math.h>

enum { WHITE = 255, CHANNELS = 3, DRAW_JITTER = 0, DRAW_GRAY, DRAW_ORDER, DRAW_FACTOR = DRAW_ORDER + IMAGE_COLORS };

/* ITU-R 601 luma in 16.16 fixed point. */
static uint8_t luma(const uint8_t *pixel) {
  return (uint8_t)((19595 * pixel[0] + 38470 * pixel[1] + 7471 * pixel[2] + 32768) >> 16);
}

/* From `base` towards and beyond `value`; cut off, not rounded. */
static uint8_t blend(int base, int value, float factor) {
  const float mixed = (float)base + factor * (float)(value - base);
  return mixed <= 0 ? 0 : mixed >= WHITE ? WHITE : (uint8_t)mixed;
}

static void blend_with(uint8_t *pixels, int64_t count, int base, double factor) {
  for (int64_t i = 0; i < count * CHANNELS; i++)
    pixels[i] = blend(base, pixels[i], (float)factor);
}

static void adjust_brightness(uint8_t *pixels, int64_t count, double factor) {
  blend_with(pixels, count, 0, factor);
}

static void adjust_contrast(uint8_t *pixels, int64_t count, double factor) {
  int64_t sum = 0;
  for (int64_t i = 0; i < count; i++)
    sum += luma(pixels + i * CHANNELS);
  blend_with(pixels, count, (int)((double)sum / (double)count + 0.5), factor);
}

static void adjust_saturation(uint8_t *pixels, int64_t count, double factor) {
  for (uint8_t *pixel = pixels, *end = pixels + count * CHANNELS; pixel < end; pixel += CHANNELS) {
    const int gray = luma(pixel);
    for (int c = 0; c < CHANNELS; c++)
      pixel[c] = blend(gray, pixel[c], (float)factor);
  }
}

struct hsv {
  uint8_t hue, saturation, value;
};

static struct hsv to_hsv(const uint8_t *pixel) {
  const int r = pixel[0], g = pixel[1], b = pixel[2],
            most = r > g   ? (r > b ? r : b)
                   : g > b ? g
                           : b,
            least = r < g   ? (r < b ? r : b)
                    : g < b ? g
                            : b;
  if (least == most)
    return (struct hsv){0, 0, (uint8_t)most};
  const float range = (float)(most - least), saturation = range / (float)most, rc = (float)(most - r) / range,
              gc = (float)(most - g) / range, bc = (float)(most - b) / range;
  const float sector = r == most   ? bc - gc
                       : g == most ? (float)(2.0 + (double)rc - (double)bc)
                                   : (float)(4.0 + (double)gc - (double)rc);
  const float hue = (float)fmod((double)sector / 6.0 + 1.0, 1.0);
  return (struct hsv){(uint8_t)((double)hue * 255.0), (uint8_t)((double)saturation * 255.0), (uint8_t)most};
}

static void from_hsv(struct hsv color, uint8_t *pixel) {
  const double turn = (double)((float)color.hue) * 6.0 / 255.0;
  const int sector = (int)floor(turn);
  const float part = (float)(turn - (double)(float)sector), saturation = (float)color.saturation / 255.0f;
  const double v = color.value, s = saturation, f = part;
  const uint8_t full = color.value, p = (uint8_t)round(v * (1.0 - s)), q = (uint8_t)round(v * (1.0 - s * f)),
                t = (uint8_t)round(v * (1.0 - s * (1.0 - f)));
  const uint8_t sectors[6][CHANNELS] = {{full, t, p}, {q, full, p}, {p, full, t},
                                        {p, q, full}, {t, p, full}, {full, p, q}};
  for (int c = 0; c < CHANNELS; c++)
    pixel[c] = color.saturation == 0 ? full : sectors[sector % 6][c];
}

/* `factor`: turns of the colour wheel. */
static void adjust_hue(uint8_t *pixels, int64_t count, double factor) {
  const uint8_t shift = (uint8_t)(int)(factor * 255);
  for (uint8_t *pixel = pixels, *end = pixels + count * CHANNELS; pixel < end; pixel += CHANNELS) {
    struct hsv color = to_hsv(pixel);
    color.hue = (uint8_t)(color.hue + shift);
    from_hsv(color, pixel);
  }
}

void image_adjust_color(enum image_color kind, double factor, uint8_t *pixels, int64_t count) {
  static void (*const adjust[IMAGE_COLORS])(uint8_t *, int64_t, double) = {adjust_brightness, adjust_contrast,
                                                                           adjust_saturation, adjust_hue};
  adjust[kind](pixels, count, factor);
}

void image_make_gray(uint8_t *pixels, int64_t count) {
  for (uint8_t *pixel = pixels, *end = pixels + count * CHANNELS; pixel < end; pixel += CHANNELS)
    pixel[0] = pixel[1] = pixel[2] = luma(pixel);
}

/* A random order of the kinds: the largest of the draws first. */
static void order_kinds(const struct random_key *key, enum image_color order[IMAGE_COLORS]) {
  double draw[IMAGE_COLORS];
  for (int i = 0; i < IMAGE_COLORS; i++) {
    draw[i] = random_uniform(key, (uint64_t)(DRAW_ORDER + i));
    int place = i;
    for (; place > 0 && draw[order[place - 1]] < draw[i]; place--)
      order[place] = order[place - 1];
    order[place] = (enum image_color)i;
  }
}

void image_jitter(const struct color_jitter *jitter, const struct random_key *key, uint8_t *pixels, int64_t count) {
  enum image_color order[IMAGE_COLORS] = {0};
  order_kinds(key, order);
  for (int i = 0; i < IMAGE_COLORS && random_uniform(key, DRAW_JITTER) < jitter->probability; i++) {
    const double strength = jitter->strength[order[i]], low = order[i] == IMAGE_HUE ? -strength : fmax(0, 1 - strength),
                 high = order[i] == IMAGE_HUE ? strength : 1 + strength;
    if (strength > 0)
      image_adjust_color(order[i], low + (high - low) * random_uniform(key, (uint64_t)(DRAW_FACTOR + (int)order[i])),
                         pixels, count);
  }
  if (random_uniform(key, DRAW_GRAY) < jitter->gray_probability)
    image_make_gray(pixels, count);
}
