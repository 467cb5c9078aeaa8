"""Writes sound files of every kind that libsndfile knows and voxwire-audio reads, and what libsndfile reads in them.

    oracle.py FOLDER

Prints a line for each: its name, frames per second, channels. FOLDER/NAME.f64 holds the samples, as little-endian doubles.
"""

import os
import struct
import sys

import numpy
import soundfile

folder = sys.argv[1]


def sound(rate, channels, seconds=0.25):
    time = numpy.arange(int(rate * seconds)) / rate
    parts = [0.4 * numpy.sin(2 * numpy.pi * 220 * (1 + at) * time) + 0.05 * numpy.sin(2 * numpy.pi * 1733 * time) for at in range(channels)]
    return numpy.stack(parts, axis=1)


def report(name):
    samples, rate = soundfile.read(os.path.join(folder, name), dtype="float64", always_2d=True)
    samples.astype("<f8").tofile(os.path.join(folder, name + ".f64"))
    print(name, rate, samples.shape[1])


def wav(name, tag, channels, rate, bits, block, data, size=None, extra=b"", order="<", magic=b"RIFF", before=b"", compared=True):
    fmt = struct.pack(order + "HHIIHH", tag, channels, rate, 0, block, bits) + extra
    size = len(data) if size is None else size
    with open(os.path.join(folder, name), "wb") as file:
        file.write(magic + struct.pack(order + "I", 0xFFFFFFFF) + b"WAVE" + before)
        file.write(b"fmt " + struct.pack(order + "I", len(fmt)) + fmt + b"data" + struct.pack(order + "I", size) + data)
    if compared:
        report(name)


for channels in (1, 2, 6):
    for rate in (8000, 44100, 48000):
        for kind, subtypes in {
            "WAV": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"],
            "WAVEX": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"],
            "RF64": ["PCM_16", "PCM_24", "FLOAT"],
            "FLAC": ["PCM_S8", "PCM_16", "PCM_24"],
            "OGG": ["VORBIS", "OPUS"],
        }.items():
            for subtype in subtypes:
                mono = subtype in ("GSM610", "G721_32") or subtype.startswith("NMS")
                if channels > (1 if mono else 2 if "ADPCM" in subtype else 8) or subtype == "OPUS" and rate == 44100:
                    continue
                name = f"{kind}-{subtype}-{rate}-{channels}.{kind.lower()}"
                soundfile.write(os.path.join(folder, name), sound(rate, channels), rate, subtype=subtype, format=kind)
                report(name)

tone = (sound(16000, 2) * 32000).astype("<i2")
plain = tone.tobytes()
wide = (sound(16000, 2) * 8e6).astype("<i4")
wav("until-the-end.wav", 1, 2, 16000, 16, 4, plain, 0xFFFFFFFF)
wav("length-zero.wav", 1, 2, 16000, 16, 4, plain, 0, compared=False)
wav("cut.wav", 1, 2, 16000, 16, 4, plain, len(plain) + 5000)
wav("ends-inside-a-frame.wav", 1, 2, 16000, 16, 4, plain[:-3])
wav("odd-chunk-padded.wav", 1, 2, 16000, 16, 4, plain, before=b"LIST\x05\0\0\0INFO!\0")
wav("fmt-18.wav", 1, 2, 16000, 16, 4, plain, extra=b"\0\0")
wav("fmt-40.wav", 1, 2, 16000, 16, 4, plain, extra=struct.pack("<HHI", 22, 16, 3) + b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71")
wav("24-in-32.wav", 0xFFFE, 2, 16000, 32, 8, (wide * 256).tobytes(), extra=struct.pack("<HHI", 22, 24, 3) + b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71")
wav("24-bits-in-blocks-of-4.wav", 1, 2, 16000, 24, 8, (wide * 256).tobytes())
wav("12-bits.wav", 1, 2, 16000, 12, 4, plain)
wav("20-bits.wav", 1, 2, 16000, 20, 6, b"".join(struct.pack("<i", sample)[:3] for sample in wide.flatten()))
wav("big-endian.wav", 1, 2, 16000, 16, 4, tone.astype(">i2").tobytes(), order=">", magic=b"RIFX")
wav("16-bits-of-another-guid.wav", 0xFFFE, 2, 16000, 16, 4, plain, extra=struct.pack("<HHI", 22, 16, 0) + b"\x01\0\0\0\x21\x07\xd3\x11\x86\x44\xc8\xc1\xca\0\0\0")
wav("16-bits-in-blocks-of-8.wav", 1, 2, 16000, 16, 8, plain)
wav("16-bits-in-blocks-of-6.wav", 1, 2, 16000, 16, 6, plain)
wav("8-bits-in-blocks-of-4.wav", 1, 2, 16000, 8, 4, plain)
wav("a-law-of-16-bits.wav", 6, 1, 8000, 16, 2, plain)
wav("mu-law-of-0-bits.wav", 7, 2, 8000, 0, 2, plain)
wav("block-zero.wav", 1, 2, 16000, 16, 0, plain)
wav("long-chunks.wav", 1, 2, 16000, 16, 4, plain, before=b"JUNK\x5c\0\0\0" + b"\0" * 92 + b"bext\x5b\x02\0\0" + b"x" * 603 + b"\0")
wav("floats-big-endian.wav", 3, 2, 16000, 32, 8, sound(16000, 2).astype(">f4").tobytes(), order=">", magic=b"RIFX")
wav("something-behind.wav", 1, 2, 16000, 16, 4, plain + b"LIST\x0c\0\0\0INFOISFT" + b"\x7f" * 999, len(plain))
wav("not-a-number.wav", 3, 1, 16000, 32, 4, numpy.array([0.5, numpy.nan, numpy.inf, -0.25, 1.5], dtype="<f4").tobytes())

# Bits that no encoder writes, in whole blocks and others, also behind big-endian headers. Not compared: what NMS ADPCM makes of a block
# that is cut, where releases of libsndfile differ.
random = numpy.random.default_rng(1)
coefficients = (7, 256, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392, -232)
for blocks in (1, 2, 7, 50):
    for name, tag, channels, bits, block, extra in (
        ("gsm", 0x31, 1, 0, 65, (2, 320)),
        ("g721", 0x40, 1, 4, 60, ()),
        ("nms-2", 0x38, 1, 2, 42, ()),
        ("nms-3", 0x38, 1, 3, 62, ()),
        ("nms-4", 0x38, 1, 4, 82, ()),
        ("ima-1", 0x11, 1, 4, 64, (2, 121)),
        ("ima-2", 0x11, 2, 4, 256, (2, 249)),
        ("ms-1", 2, 1, 4, 64, (32, 116, *coefficients)),
        ("ms-2", 2, 2, 4, 256, (32, 244, *coefficients)),
    ):
        data = random.integers(0, 256, blocks * block, dtype="u1").tobytes()
        for order, magic in (("<", b"RIFF"), (">", b"RIFX")):
            packed = struct.pack(f"{order}{len(extra)}h", *extra)

            def write(what, data, size=None):
                wav(f"random-{name}-{blocks}-{magic.decode()}-{what}.wav", tag, channels, 8000, bits, block, data, size, packed, order, magic)

            write("whole", data)
            # Microsoft's has no sound in less than a block.
            if tag != 0x38 and (tag, blocks) != (2, 1):
                write("cut", data[:-7], len(data) + 100)
                write("more", data + data[:22])

# Since 1.2.
for rate in (8000, 22050, 44100) if "MP3" in soundfile.available_formats() else ():
    for channels in (1, 2):
        inside = os.path.join(folder, "inside.mp3")
        soundfile.write(inside, sound(rate, channels, 1.0), rate, subtype="MPEG_LAYER_III", format="MP3")
        with open(inside, "rb") as file:
            data = file.read()
        extra = struct.pack("<HHIHHH", 12, 1, 2, 417, 1, 1393)
        wav(f"MP3-{rate}-{channels}.wav", 0x55, channels, rate, 0, 1, data, extra=extra)
        wav(f"MP3-{rate}-{channels}-cut.wav", 0x55, channels, rate, 0, 1, data[:-300], len(data), extra=extra)

for subtype in ("VORBIS", "OPUS"):
    parts = []
    for part, frequency in enumerate((1, 2)):
        name = f"part-{subtype}-{part}.ogg"
        soundfile.write(os.path.join(folder, name), sound(16000, 1) * frequency / 2, 16000, subtype=subtype, format="OGG")
        with open(os.path.join(folder, name), "rb") as file:
            parts.append(file.read())
        report(name)
    # libsndfile reads the first part of a chain only: both are compared with what stands here.
    with open(os.path.join(folder, f"chained-{subtype}.ogg"), "wb") as file:
        file.write(b"".join(parts))

with open(os.path.join(folder, "FLAC-PCM_16-8000-1.flac"), "rb") as file, open(os.path.join(folder, "id3.flac"), "wb") as tagged:
    tagged.write(b"ID3\x04\0\0\0\0\x02\x01" + b"\0" * 257 + file.read())
report("id3.flac")

# The same with an ID3v1 tag behind it, which libsndfile passes over.
with open(os.path.join(folder, "FLAC-PCM_24-48000-1.flac"), "rb") as file, open(os.path.join(folder, "id3v1.flac"), "wb") as tagged:
    tagged.write(file.read() + b"TAG" + b"\0" * 125)
report("id3v1.flac")
