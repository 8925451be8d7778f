"""Small pictures: a screenshot with the 256 colours that it uses most, as PNG with a palette."""

import base64
import struct
import zlib

from playwright.async_api import Page

COLOURS = """async (data) => {
  const image = await createImageBitmap(await (await fetch(data)).blob());
  const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
  context.drawImage(image, 0, 0);
  const bytes = context.getImageData(0, 0, image.width, image.height).data;
  const pixels = new Uint32Array(bytes.buffer).map((pixel) => pixel & 0xffffff);
  const uses = new Map();
  for (const pixel of pixels) uses.set(pixel, (uses.get(pixel) ?? 0) + 1);
  const palette = [...uses.keys()].sort((a, b) => uses.get(b) - uses.get(a)).slice(0, 256);
  const far = (a, b) => [0, 8, 16].reduce((sum, bit) => sum + ((a >> bit & 255) - (b >> bit & 255)) ** 2, 0);
  const nearest = new Map([...uses.keys()].map((one) =>
    [one, palette.reduce((best, other, at) => (far(one, other) < far(one, palette[best]) ? at : best), 0)]));
  let text = '';
  for (const pixel of pixels) text += String.fromCharCode(nearest.get(pixel));
  return [image.width, palette, btoa(text)];
}"""


async def paletted(page: Page, screenshot: bytes) -> tuple[int, list[int], bytes]:
    """Return the width of a picture, its palette (blue, green, red from the highest byte) and an index for each pixel.

    The browser computes it, in a tab without the policy of the console.
    """
    blank = await page.context.new_page()
    width, palette, pixels = await blank.evaluate(
        COLOURS, f"data:image/png;base64,{base64.b64encode(screenshot).decode()}"
    )
    await blank.close()
    return width, palette, base64.b64decode(pixels)


def png(width: int, palette: list[int], pixels: bytes) -> bytes:
    """Return a PNG of pixels that are indices of a palette."""
    lines = b"".join(b"\0" + pixels[at : at + width] for at in range(0, len(pixels), width))
    colours = b"".join(struct.pack("<I", colour)[:3] for colour in palette)
    head = struct.pack(">IIBBBBB", width, len(pixels) // width, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", colours), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
