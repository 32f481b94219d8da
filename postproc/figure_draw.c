/* Drawing by gnuplot: a script and one data file per curve in a folder of their own, which goes afterwards. */
#include "base/file.h"
#include "base/memory.h"
#include "figure.h"
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Okabe and Ito's colours, which stay apart for colour-blind readers; lighter ones on dark ground. */
static const struct theme {
  const char *text, *grid, *background, *colors[8];
} themes[2] = {
    {"#24292f",
     "#d8dee4",
     "#ffffff",
     {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#6A3D9A", "#555555"}},
    {"#d7dde4",
     "#3a414a",
     "#161b22",
     {"#56B4E9", "#F28E2B", "#3CCB9A", "#E59ACB", "#F0E442", "#8AB4FF", "#C7A6F2", "#AAAAAA"}},
};
static const char *const dashes[] = {"solid", "'-'", "'.'", "'-.'"};
enum { COLOR_COUNT = 8, DASH_COUNT = 4, SMOOTH_POINTS_MIN = 40, MARK_POINTS_MAX = 40 };

/* In single quotes; gnuplot doubles a quote inside. */
static void append_quoted(struct text *script, const char *words) {
  text_append_string(script, "'");
  for (const char *c = words; *c; c++) {
    if (*c == '\'')
      text_append_string(script, "'");
    text_append(script, (unsigned char)*c < ' ' ? " " : c, 1);
  }
  text_append_string(script, "'");
}

static bool is_smoothed(const struct figure *figure, const struct series *series) {
  return figure->smooth && series->count >= SMOOTH_POINTS_MIN;
}

/* Columns: step, value, running mean over a fortieth of the points (exponential, without the bias of its start), and
 * the interval. */
static enum status write_data(const struct figure *figure, const struct curve *curve, const char *path) {
  const struct series *series = curve->series;
  struct text data = {0};
  double keep = 1 - 40.0 / (series->count + 40.0), mean = 0, weight = 0;
  for (int i = 0; i < series->count; i++) {
    double value = figure->scale * series->value[i];
    mean = keep * mean + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    text_append_format(&data, "%.17g %.9g %.9g", series->step[i], value, mean / weight);
    if (curve->low)
      text_append_format(&data, " %.9g %.9g", figure->scale * curve->low[i], figure->scale * curve->high[i]);
    text_append_string(&data, "\n");
  }
  enum status status = file_write_atomic(path, data.data, data.length);
  text_release(&data);
  return status;
}

static double last_step(const struct figure *figure) {
  double last = 1;
  for (int c = 0; c < figure->curve_count; c++) {
    const struct series *series = figure->curves[c].series;
    last = series->step[series->count - 1] > last ? series->step[series->count - 1] : last;
  }
  return last;
}

static void append_style(struct text *script, const struct figure *figure, enum figure_format format,
                         const struct theme *theme, const char *path) {
  if (format == FIGURE_PNG)
    text_append_format(
        script, "set terminal pngcairo noenhanced size 1280,800 font 'DejaVu Sans,17' linewidth 2 background '%s'\n",
        theme->background);
  else
    text_append_format(script,
                       "set terminal svg noenhanced size 800,500 dynamic font 'DejaVu "
                       "Sans,Helvetica,Arial,sans-serif,17' linewidth 1.4 background '%s'\n",
                       theme->background);
  text_append_string(script, "set output ");
  append_quoted(script, path);
  text_append_format(
      script,
      "\nset border 3 linecolor rgb '%s' linewidth 0.7\nset tics nomirror out scale 0.6 textcolor rgb '%s'\n"
      "set grid linecolor rgb '%s' linewidth 0.5 linetype 1\nset key bmargin center Left reverse horizontal height 0.4 "
      "textcolor rgb '%s' samplen 2.5\n"
      "set format x '%%.0f'\nset xrange [%d:%g]\nset offsets 0, 0, graph 0.04, 0\nset lmargin 11\nset rmargin 3\n"
      "set title offset 0,-0.3 textcolor rgb '%s' ",
      theme->text, theme->text, theme->grid, theme->text, figure->x_logarithmic, 1.01 * last_step(figure), theme->text);
  append_quoted(script, figure->title);
  text_append_string(script, figure->x_logarithmic ? "\nset logscale x 2" : "");
  text_append_format(script, "\nset xlabel offset 0,0.3 textcolor rgb '%s' ", theme->text);
  append_quoted(script, figure->x_label ? figure->x_label : "training step");
  text_append_format(script, "\nset ylabel textcolor rgb '%s' ", theme->text);
  append_quoted(script, figure->y_label);
  text_append_string(script, figure->logarithmic ? "\nset logscale y\n" : "\n");
}

/* A smoothed curve lies over its points, which are drawn thin and pale. */
static void append_curve(struct text *script, const struct figure *figure, int number, const struct theme *theme,
                         const char *folder) {
  const struct curve *curve = &figure->curves[number];
  const char *color = theme->colors[curve->color % COLOR_COUNT];
  bool smoothed = is_smoothed(figure, curve->series), marked = curve->series->count <= MARK_POINTS_MAX;
  text_append_string(script, number > 0 ? ", \\\n " : "plot ");
  if (smoothed)
    text_append_format(script, "'%s/%d' using 1:2 with lines linecolor rgb '#b0%s' linewidth 0.8 notitle, \\\n ",
                       folder, number, color + 1);
  if (curve->low)
    text_append_format(script,
                       "'%s/%d' using 1:2:4:5 with yerrorbars linecolor rgb '#60%s' linewidth 1 pointsize 0 "
                       "notitle, \\\n ",
                       folder, number, color + 1);
  text_append_format(script, "'%s/%d' using 1:%d with %s linecolor rgb '%s' linewidth 2 dashtype %s", folder, number,
                     smoothed ? 3 : 2, marked ? "linespoints pointtype 7 pointsize 0.7" : "lines", color,
                     dashes[curve->dash % DASH_COUNT]);
  text_append_string(script, " title ");
  append_quoted(script, curve->label);
}

/* Runs `gnuplot SCRIPT`, its words going to the file `log`. */
static enum status run_gnuplot(const char *script, const char *log) {
  posix_spawn_file_actions_t actions;
  char *const arguments[] = {"gnuplot", (char *)script, NULL};
  pid_t child;
  int result;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  int failed = posix_spawnp(&child, "gnuplot", &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed)
    return error_set(STATUS_SYSTEM,
                     "gnuplot cannot be started (%s); install it (Debian: gnuplot-nox) or load its module",
                     strerror(failed));
  while (waitpid(child, &result, 0) < 0 && errno == EINTR)
    continue;
  if (WIFEXITED(result) && WEXITSTATUS(result) == 0)
    return STATUS_OK;
  struct text words = {0};
  if (file_read(log, &words) != STATUS_OK || words.length == 0)
    text_append_string(&words, "no message");
  error_set(STATUS_SYSTEM, "gnuplot failed: %s", words.data);
  text_release(&words);
  return STATUS_SYSTEM;
}

static enum status draw_in(const char *folder, const struct figure *figure, const struct text *script) {
  char *script_path = text_join_path(folder, "script"), *log = text_join_path(folder, "log");
  enum status status = file_write_atomic(script_path, script->data, script->length);
  for (int c = 0; status == STATUS_OK && c < figure->curve_count; c++) {
    char *path = text_format("%s/%d", folder, c);
    status = write_data(figure, &figure->curves[c], path);
    memory_release(path);
  }
  if (status == STATUS_OK)
    status = run_gnuplot(script_path, log);
  for (int c = 0; c < figure->curve_count; c++) {
    char *path = text_format("%s/%d", folder, c);
    unlink(path);
    memory_release(path);
  }
  unlink(script_path);
  unlink(log);
  memory_release(script_path);
  memory_release(log);
  return status;
}

enum status figure_draw(const struct figure *figure, enum figure_format format, bool dark, const char *path) {
  const char *temporary = getenv("TMPDIR");
  char *folder = text_format("%s/memclip-figure.XXXXXX", temporary && *temporary ? temporary : "/tmp");
  enum status status = STATUS_OK;
  if (!mkdtemp(folder))
    status = error_set(STATUS_SYSTEM, "cannot make a folder %s: %s; set TMPDIR to a place that can be written", folder,
                       strerror(errno));
  if (status == STATUS_OK) {
    struct text script = {0};
    append_style(&script, figure, format, &themes[dark], path);
    for (int c = 0; c < figure->curve_count; c++)
      append_curve(&script, figure, c, &themes[dark], folder);
    text_append_string(&script, "\n");
    status = draw_in(folder, figure, &script);
    text_release(&script);
    rmdir(folder);
  }
  if (status == STATUS_OK && !file_exists(path))
    status = error_set(STATUS_SYSTEM, "gnuplot did not write %s; can its folder be written?", path);
  memory_release(folder);
  return status;
}
