"""A database that is gone, or another's, beside blobs that are there: nobody begins anew over them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from s3 import Server

from gesso.assembly import open_blobs, open_parts
from gesso.config import Settings
from gesso.core.errors import ConfigError
from gesso.files.blobs import just_log, new_key

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["folder", "bucket"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Settings]:
    """The settings of a data folder of this name; all of them keep their blobs in one bucket, where it is a bucket."""
    blobs = ""
    if request.param == "bucket":
        request.getfixturevalue("s3_door")
        server: Server = request.getfixturevalue("s3_server")
        blobs = f"s3://{server.new_bucket()}/p"
    return lambda name: Settings(data_dir=tmp_path / name, blobs=blobs)


async def kept(settings: Settings) -> str:
    """The key of a blob that lies there, whoever made it."""
    blobs = await open_blobs(settings, just_log)
    await blobs.put(key := new_key(), b"a picture")
    return key


@pytest.mark.parametrize("loss", ["missing", "empty"])
async def test_I18_nothing_is_begun_anew_beside_the_pictures_of_a_database_that_is_gone(
    settings: Callable[[str], Settings], loss: str
) -> None:
    ours = settings("a")
    key, file = await kept(ours), ours.data_dir / "gesso.db"
    if loss == "empty":
        ours.data_dir.mkdir(exist_ok=True)
        file.touch()
    with pytest.raises(ConfigError, match="is missing or empty, but its pictures are there"):
        async with open_parts(ours):
            pass

    assert await (await open_blobs(ours, just_log)).read(key) == b"a picture"
    assert file.exists() == (loss == "empty")
    assert loss == "missing" or file.stat().st_size == 0


async def test_a_fresh_data_folder_is_begun_and_opened_again(settings: Callable[[str], Settings]) -> None:
    async with open_parts(settings("a")) as parts:
        await parts.blobs.put(parts.blobs.new_key("png"), b"a picture")

    async with open_parts(settings("a")):
        pass


@pytest.mark.parametrize("settings", ["bucket"], indirect=True)
async def test_I13_the_bucket_of_another_database_is_refused_even_before_there_is_a_picture_in_it(
    settings: Callable[[str], Settings],
) -> None:
    async with open_parts(settings("a")):
        pass

    with pytest.raises(ConfigError, match="belong to another database"):
        async with open_parts(settings("b")):
            pass


async def test_a_bucket_without_its_library_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gesso.files.bucket

    monkeypatch.delattr(gesso.files, "bucket")
    monkeypatch.delitem(sys.modules, "gesso.files.bucket")
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ConfigError, match=r"pip install 'gesso\[server,s3\]'"):
        async with open_parts(Settings(data_dir=tmp_path / "a", blobs="s3://bucket")):
            pass


async def test_a_data_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")

    with pytest.raises(ConfigError, match=r"the data folder cannot be used: .*File exists"):
        async with open_parts(Settings(data_dir=tmp_path / "a")):
            pass
