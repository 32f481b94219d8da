/* The frame of the page: head, style, escaping. */
#include "report.h"
#include <stdint.h>
#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--ground:#fff;--card:#f6f8fa;--ink:#1f2328;--pale:#59636e;--line:#d1d9e0;"
    "--accent:#0072b2;--right:#1a7f37;--wrong:#9a6700;--best:#ddf4ff}\n"
    "@media(prefers-color-scheme:dark){\n"
    ":root{--ground:#0d1117;--card:#161b22;--ink:#e6edf3;--pale:#9198a1;--line:#3d444d;--accent:#58b4e9;"
    "--right:#3fb950;--wrong:#d29922;--best:#12324a}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:70rem;background:var(--ground);color:var(--ink);"
    "font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\n"
    "h1{font-size:1.15rem;font-weight:600;color:var(--pale);margin:0 0 .5rem}\n"
    ".headline{font-size:clamp(1.25rem,4vw,1.7rem);line-height:1.35;font-weight:600;margin:0 0 1.5rem;"
    "max-width:52rem}\n"
    "h2{font-size:1.3rem;margin:2.6rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--line)}\n"
    "h3{font-size:1.05rem;margin:1.6rem 0 .5rem}\n"
    "p.note,figcaption,td small,th small,.pale{color:var(--pale)}\n"
    "p.note,figcaption{font-size:.88rem}\n"
    ".wide{overflow-x:auto}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.94rem}\n"
    "th,td{padding:.4rem .8rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;"
    "vertical-align:top}\n"
    "th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--ground)}\n"
    "thead th{border-bottom:2px solid var(--line);vertical-align:bottom;white-space:normal;min-width:4.6rem}\n"
    "tr.part th{text-align:left;padding-top:1rem;color:var(--accent);font-weight:600}\n"
    "td small{display:block;font-size:.83em}\n"
    "td.best{background:var(--best);font-weight:700}\n"
    "td.best small{font-weight:400}\n"
    "td.value{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:6rem}\n"
    "code{font:.85em ui-monospace,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere}\n"
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));gap:1rem}\n"
    "figure{margin:0}\n"
    ".figures img{width:100%;height:auto;border:1px solid var(--line);border-radius:8px;display:block}\n"
    ".query{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.9rem 1rem;"
    "margin:0 0 1rem;break-inside:avoid}\n"
    ".query>p{margin:0 0 .6rem}\n"
    ".verdict{font-size:.86rem;font-weight:600}\n"
    ".yes{color:var(--right)}\n"
    ".no{color:var(--wrong)}\n"
    ".found{display:grid;grid-template-columns:repeat(auto-fill,minmax(7rem,1fr));gap:.6rem;margin:0;padding:0;"
    "list-style:none}\n"
    ".found li{font-size:.8rem;color:var(--pale)}\n"
    ".found img,.asked img,.key{width:100%;aspect-ratio:1;object-fit:contain;display:block;border-radius:6px;"
    "border:3px solid transparent;background:var(--ground)}\n"
    ".key{display:grid;place-items:center;font:.8rem ui-monospace,monospace;border-color:var(--line);"
    "overflow:hidden}\n"
    ".found .hit img,.found .hit .key{border-color:var(--right)}\n"
    ".found .hit{color:var(--right);font-weight:600}\n"
    ".asked{display:grid;grid-template-columns:minmax(6rem,9rem) 1fr;gap:1rem}\n"
    ".asked ol{margin:0;padding-left:1.3rem;font-size:.9rem}\n"
    ".asked li{margin-bottom:.35rem}\n"
    ".asked li.hit{color:var(--right);font-weight:600}\n"
    "pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem;overflow-x:auto;"
    "font-size:.8rem;line-height:1.4}\n"
    "details{margin:.5rem 0}\n"
    "summary{cursor:pointer;color:var(--accent)}\n"
    "@media(max-width:34rem){\n"
    "body{font-size:15px}\n"
    "th,td{padding:.35rem .5rem}\n"
    ".asked{grid-template-columns:1fr}\n"
    ".asked figure{max-width:9rem}\n"
    ".found{grid-template-columns:repeat(3,1fr)}}\n"
    "@media print{\n"
    ":root{--ground:#fff;--card:#fff;--ink:#000;--pale:#444;--line:#bbb;--accent:#004a75;--best:#e8e8e8}\n"
    "body{max-width:none;padding:0;font-size:10pt}\n"
    "table{font-size:7.5pt}\n"
    "th,td{padding:.15rem .35rem}\n"
    "thead th{min-width:0}\n"
    "h2,h3{break-after:avoid}\n"
    "figure,table{break-inside:avoid}\n"
    ".wide{overflow:visible}\n"
    "pre{white-space:pre-wrap}}\n";

void report_escape(struct text *page, const char *words) {
  for (const char *c = words; *c; c++) {
    if (*c == '<')
      text_append_string(page, "&lt;");
    else if (*c == '>')
      text_append_string(page, "&gt;");
    else if (*c == '&')
      text_append_string(page, "&amp;");
    else if (*c == '"')
      text_append_string(page, "&quot;");
    else
      text_append(page, c, 1);
  }
}

void report_base64(struct text *page, const char *bytes, size_t size) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < size; i += 3) {
    size_t left = size - i;
    uint32_t bits = (uint32_t)(uint8_t)bytes[i] << 16;
    if (left > 1)
      bits |= (uint32_t)(uint8_t)bytes[i + 1] << 8;
    if (left > 2)
      bits |= (uint8_t)bytes[i + 2];
    char quad[4] = {digits[bits >> 18], digits[bits >> 12 & 63], left > 1 ? digits[bits >> 6 & 63] : '=',
                    left > 2 ? digits[bits & 63] : '='};
    text_append(page, quad, 4);
  }
}

void report_page(const struct report *report, const struct text *body, struct text *page) {
  text_append_string(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
  report_escape(page, report->title);
  text_append_string(page, "</title>\n<style>\n");
  text_append_string(page, style);
  text_append_string(page, "</style>\n</head>\n<body>\n<h1>");
  report_escape(page, report->title);
  text_append_string(page, "</h1>\n");
  if (body->data)
    text_append_string(page, body->data);
  text_append_string(page, "</body>\n</html>\n");
}
