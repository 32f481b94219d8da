#include "scene_paint.h"
#include "base/error.h"
#include <math.h>

const struct scene_rgb scene_palette[COLOUR_COUNT] = {
    {0.89, 0.13, 0.15}, {1.00, 0.52, 0.05}, {1.00, 0.85, 0.10}, {0.10, 0.62, 0.22}, {0.12, 0.35, 0.90},
    {0.53, 0.17, 0.72}, {1.00, 0.47, 0.72}, {0.48, 0.28, 0.12}, {0.10, 0.10, 0.12}, {0.98, 0.98, 0.98}};
/* The grid leaves room for the frame; a large object with its rim fills its cell. */
static const double grid_start = 3, cell_width = 30, frame_width = 3.5, radii[2] = {8, 13.5}, jitter[2] = {4, 0.6};

struct pose {
  double x, y, radius, angle;
};

/* A function of the scene and the cell, so that picture and class map agree. */
static struct pose pose_of(const struct scene *scene, int size, int cell) {
  struct scene_draw draw = {scene->paint_key, (uint64_t)(1000 + 8 * cell)};
  struct pose pose = {.radius = radii[size]};
  pose.x = grid_start + cell_width * (cell % 3 + 0.5) + scene_draw_range(&draw, -jitter[size], jitter[size]);
  pose.y = grid_start + cell_width * (cell / 3 + 0.5) + scene_draw_range(&draw, -jitter[size], jitter[size]);
  pose.angle = scene_draw_range(&draw, -0.16, 0.16);
  return pose;
}

static void place(cairo_t *cairo, const struct pose *pose) {
  cairo_translate(cairo, pose->x, pose->y);
  cairo_rotate(cairo, pose->angle);
  cairo_scale(cairo, pose->radius, pose->radius);
}

/* Towards black (amount < 0) or white (amount > 0). */
static struct scene_rgb shade(struct scene_rgb colour, double amount) {
  double goal = amount > 0 ? 1 : 0, share = fabs(amount);
  return (struct scene_rgb){colour.red + (goal - colour.red) * share, colour.green + (goal - colour.green) * share,
                            colour.blue + (goal - colour.blue) * share};
}

static void add_stop(cairo_pattern_t *pattern, double offset, struct scene_rgb colour) {
  cairo_pattern_add_color_stop_rgb(pattern, offset, colour.red, colour.green, colour.blue);
}

static void fill_shaded(cairo_t *cairo, struct scene_rgb colour) {
  cairo_pattern_t *pattern = cairo_pattern_create_linear(-0.6, -1, 0.6, 1);
  add_stop(pattern, 0, shade(colour, 0.16));
  add_stop(pattern, 0.5, colour);
  add_stop(pattern, 1, shade(colour, -0.14));
  cairo_set_source(cairo, pattern);
  cairo_fill_preserve(cairo);
  cairo_pattern_destroy(pattern);
}

/* One period of a texture, `side` device pixels wide, in the ink that is set. */
static void paint_tile(cairo_t *tile, int texture, double side) {
  cairo_scale(tile, side, side);
  if (texture == TEXTURE_STRIPED)
    cairo_rectangle(tile, 0, 0, 0.42, 1);
  else if (texture == TEXTURE_CHECKED) {
    cairo_rectangle(tile, 0, 0, 0.5, 0.5);
    cairo_rectangle(tile, 0.5, 0.5, 0.5, 0.5);
  } else {
    cairo_arc(tile, 0.25, 0.25, 0.2, 0, 2 * M_PI);
    cairo_new_sub_path(tile);
    cairo_arc(tile, 0.75, 0.75, 0.2, 0, 2 * M_PI);
  }
  cairo_fill(tile);
}

/* Fills the current path with a repeated tile: white on strong colours, dark on light ones. */
static void fill_texture(cairo_t *cairo, const struct scene_object *object) {
  static const double periods[TEXTURE_COUNT] = {
      [TEXTURE_STRIPED] = 0.5, [TEXTURE_DOTTED] = 0.66, [TEXTURE_CHECKED] = 0.8};
  static const double turns[TEXTURE_COUNT] = {[TEXTURE_STRIPED] = 0.36};
  bool light = object->colour == COLOUR_WHITE || object->colour == COLOUR_YELLOW;
  struct scene_rgb ink = light ? shade(scene_palette[object->colour], -0.5) : (struct scene_rgb){1, 1, 1};
  double across = 1, down = 0, period = periods[object->texture];
  cairo_user_to_device_distance(cairo, &across, &down);
  int side = (int)ceil(period * hypot(across, down));
  cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_ARGB32, side, side);
  cairo_t *tile = cairo_create(surface);
  cairo_set_source_rgba(tile, ink.red, ink.green, ink.blue, 0.75);
  paint_tile(tile, object->texture, side);
  cairo_destroy(tile);
  cairo_pattern_t *pattern = cairo_pattern_create_for_surface(surface);
  cairo_matrix_t matrix;
  cairo_matrix_init_scale(&matrix, side / period, side / period);
  cairo_matrix_rotate(&matrix, turns[object->texture]);
  cairo_pattern_set_matrix(pattern, &matrix);
  cairo_pattern_set_extend(pattern, CAIRO_EXTEND_REPEAT);
  cairo_pattern_set_filter(pattern, CAIRO_FILTER_BILINEAR);
  cairo_set_source(cairo, pattern);
  cairo_fill_preserve(cairo);
  cairo_pattern_destroy(pattern);
  cairo_surface_destroy(surface);
}

/* A sticker: soft shadow, white rim, shaded body, texture, thin dark outline. The rim keeps any colour apart from any
 * scenery. */
static void paint_object(cairo_t *cairo, const struct scene_object *object, const struct pose *pose) {
  double unit = 1 / pose->radius;
  struct scene_rgb colour = scene_palette[object->colour],
                   outline = shade(colour, object->colour == COLOUR_WHITE ? -0.55 : -0.45);
  cairo_save(cairo);
  place(cairo, pose);
  cairo_set_fill_rule(cairo, CAIRO_FILL_RULE_EVEN_ODD);
  cairo_set_line_join(cairo, CAIRO_LINE_JOIN_ROUND);
  cairo_translate(cairo, 1.4 * unit, 2.3 * unit);
  scene_shape_path(cairo, object->shape);
  cairo_translate(cairo, -1.4 * unit, -2.3 * unit);
  cairo_set_source_rgba(cairo, 0, 0, 0, 0.3);
  cairo_fill(cairo);
  scene_shape_path(cairo, object->shape);
  cairo_set_source_rgb(cairo, 1, 1, 1);
  cairo_set_line_width(cairo, 2.6 * unit);
  cairo_stroke_preserve(cairo);
  fill_shaded(cairo, colour);
  if (object->texture != TEXTURE_PLAIN)
    fill_texture(cairo, object);
  cairo_set_source_rgb(cairo, outline.red, outline.green, outline.blue);
  cairo_set_line_width(cairo, 0.7 * unit);
  cairo_stroke(cairo);
  cairo_restore(cairo);
}

static void sign_board_path(cairo_t *cairo, const struct pose *pose, int letters) {
  double half = letters == 1 ? 9 : letters == 2 ? 11 : 13.5;
  cairo_new_path(cairo);
  cairo_rectangle(cairo, pose->x - half, pose->y - 10.5, 2 * half, 17);
}

static void sign_post_path(cairo_t *cairo, const struct pose *pose) {
  cairo_new_path(cairo);
  cairo_rectangle(cairo, pose->x - 1.5, pose->y + 6, 3, 8);
}

static void paint_sign(cairo_t *cairo, const struct scene *scene) {
  struct pose pose = pose_of(scene, SIZE_LARGE, scene->sign_cell);
  sign_post_path(cairo, &pose);
  cairo_set_source_rgb(cairo, 0.38, 0.26, 0.16);
  cairo_fill(cairo);
  sign_board_path(cairo, &pose, scene->letters);
  cairo_set_line_join(cairo, CAIRO_LINE_JOIN_ROUND);
  cairo_set_source_rgb(cairo, 0.38, 0.26, 0.16);
  cairo_set_line_width(cairo, 3);
  cairo_stroke_preserve(cairo);
  cairo_set_source_rgb(cairo, 0.99, 0.96, 0.86);
  cairo_fill(cairo);
  cairo_set_source_rgb(cairo, 0.12, 0.12, 0.16);
  cairo_set_line_cap(cairo, CAIRO_LINE_CAP_ROUND);
  const double width = 6.2, step = 8.7;
  for (int i = 0; i < scene->letters; i++) {
    cairo_save(cairo);
    cairo_translate(cairo, pose.x + step * (i - (scene->letters - 1) / 2.0), pose.y - 2);
    cairo_scale(cairo, width, 1.15 * width);
    cairo_new_path(cairo);
    scene_letter_path(cairo, scene_alphabet[scene->letter[i]]);
    cairo_restore(cairo);
    cairo_set_line_width(cairo, 1.7);
    cairo_stroke(cairo);
  }
}

static void paint_frame(cairo_t *cairo, int colour) {
  struct scene_rgb rgb = scene_palette[colour], edge = shade(rgb, colour == COLOUR_WHITE ? -0.3 : -0.35);
  cairo_set_line_join(cairo, CAIRO_LINE_JOIN_MITER);
  cairo_rectangle(cairo, frame_width / 2, frame_width / 2, 96 - frame_width, 96 - frame_width);
  cairo_set_source_rgb(cairo, rgb.red, rgb.green, rgb.blue);
  cairo_set_line_width(cairo, frame_width);
  cairo_stroke(cairo);
  cairo_rectangle(cairo, frame_width, frame_width, 96 - 2 * frame_width, 96 - 2 * frame_width);
  cairo_set_source_rgb(cairo, edge.red, edge.green, edge.blue);
  cairo_set_line_width(cairo, 0.6);
  cairo_stroke(cairo);
}

static cairo_t *start(cairo_surface_t *surface) {
  cairo_t *cairo = cairo_create(surface);
  double scale = cairo_image_surface_get_width(surface) / 96.0;
  cairo_scale(cairo, scale, scale);
  cairo_set_tolerance(cairo, 0.25); /* in pixels; cairo's 0.1 costs half as much again and shows no difference */
  return cairo;
}

static void finish(cairo_t *cairo, cairo_surface_t *surface) {
  cairo_status_t status = cairo_status(cairo);
  if (status != CAIRO_STATUS_SUCCESS)
    fatal("cairo: %s", cairo_status_to_string(status));
  cairo_destroy(cairo);
  cairo_surface_flush(surface);
}

void scene_paint(const struct scene *scene, cairo_surface_t *surface) {
  cairo_t *cairo = start(surface);
  struct scene_draw draw = {scene->paint_key, 0};
  scene_paint_background(cairo, scene->background, &draw);
  for (int i = 0; i < scene->objects; i++)
    for (int c = 0; c < scene->object[i].copies; c++) {
      struct pose pose = pose_of(scene, scene->object[i].size, scene->object[i].cells[c]);
      paint_object(cairo, &scene->object[i], &pose);
    }
  if (scene->letters > 0)
    paint_sign(cairo, scene);
  if (scene->frame != SCENE_NO_FRAME)
    paint_frame(cairo, scene->frame);
  finish(cairo, surface);
}

static void set_class(cairo_t *cairo, int class) {
  cairo_set_source_rgba(cairo, 0, 0, 0, class / 255.0);
}

void scene_paint_classes(const struct scene *scene, cairo_surface_t *surface) {
  cairo_t *cairo = start(surface);
  cairo_set_antialias(cairo, CAIRO_ANTIALIAS_NONE);
  cairo_set_operator(cairo, CAIRO_OPERATOR_SOURCE);
  cairo_set_fill_rule(cairo, CAIRO_FILL_RULE_EVEN_ODD);
  set_class(cairo, SCENE_CLASS_BACKGROUND + scene->background);
  cairo_paint(cairo);
  for (int i = 0; i < scene->objects; i++)
    for (int c = 0; c < scene->object[i].copies; c++) {
      struct pose pose = pose_of(scene, scene->object[i].size, scene->object[i].cells[c]);
      cairo_save(cairo);
      place(cairo, &pose);
      scene_shape_path(cairo, scene->object[i].shape);
      set_class(cairo, SCENE_CLASS_SHAPE + scene->object[i].shape);
      cairo_fill(cairo);
      cairo_restore(cairo);
    }
  if (scene->letters > 0) {
    struct pose pose = pose_of(scene, SIZE_LARGE, scene->sign_cell);
    set_class(cairo, SCENE_CLASS_SIGN);
    sign_post_path(cairo, &pose);
    cairo_fill(cairo);
    sign_board_path(cairo, &pose, scene->letters);
    cairo_fill(cairo);
  }
  if (scene->frame != SCENE_NO_FRAME) {
    set_class(cairo, SCENE_CLASS_FRAME);
    cairo_rectangle(cairo, 0, 0, 96, 96);
    cairo_rectangle(cairo, frame_width, frame_width, 96 - 2 * frame_width, 96 - 2 * frame_width);
    cairo_fill(cairo);
  }
  finish(cairo, surface);
}
